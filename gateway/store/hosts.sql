-- name: ready
-- The cell hosts that may own sessions now: where pokes go.
SELECT host_id, incarnation, address FROM setpoint.cell_candidates()

-- name: owner
-- Who runs a session: asked for output of a running step.
SELECT host_id, address FROM setpoint.session_owner($1, $2)
