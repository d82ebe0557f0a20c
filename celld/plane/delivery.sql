-- name: note
-- Which input is about to be decided, and of how many deaths it is suspected.
SELECT setpoint.delivery_note($1, $2, $3, $4, $5, $6)

-- name: left
-- What the owner before us was at when it ended.
SELECT input, deaths, given FROM setpoint.delivery_left($1, $2, $3)
