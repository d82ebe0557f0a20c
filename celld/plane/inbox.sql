-- name: read
-- Commands not accepted yet, control lane first, after the last one known of each lane.
SELECT lane, inbox_seq, command_id, type, payload FROM setpoint.inbox($1, $2, $3, $4, $5)
