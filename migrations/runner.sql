-- name: role
-- Everything must be owned by this role, so no other may migrate.
SELECT current_user::text

-- name: lock
-- One migration at a time per database; ends with its transaction, so it works behind any pooler.
SELECT pg_advisory_xact_lock(hashtextextended('setpoint.migrations', 0))

-- name: ground
-- The schema and the record of what was applied to it. An administrator may have made the schema for us.
CREATE SCHEMA IF NOT EXISTS setpoint;
CREATE TABLE setpoint.schema_versions (
    version int PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: path
-- Version scripts name nothing but their own schema's objects.
SELECT set_config('search_path', 'setpoint, pg_temp', true)

-- name: exists
-- Whether anything was ever migrated here.
SELECT to_regclass('setpoint.schema_versions') IS NOT NULL

-- name: applied
-- What the database says it contains.
SELECT version, name, checksum FROM setpoint.schema_versions ORDER BY version

-- name: record
-- Written in the transaction of the version itself.
INSERT INTO setpoint.schema_versions (version, name, checksum) VALUES ($1, $2, $3)
