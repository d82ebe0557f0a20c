-- name: alive
-- Readiness: a round trip and the schema version, which the pool has checked.
SELECT setpoint.schema_version()
