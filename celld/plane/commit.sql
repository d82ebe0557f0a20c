-- name: append
-- The decisions of many sessions in one transaction, each fenced on its own.
SELECT ord, status, seq, detail FROM setpoint.append_batch($1)
