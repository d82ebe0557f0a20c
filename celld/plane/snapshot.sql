-- name: write
-- Keep a snapshot, as long as the session is ours; the two newest are kept.
SELECT setpoint.snapshot_write($1, $2, $3, $4, $5, $6, $7)

-- name: read
-- The snapshots that there are, newest first.
SELECT seq, code_version, state FROM setpoint.snapshot_read($1, $2)
