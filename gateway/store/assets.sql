-- name: page
-- The projection, by name; reading it wakes nobody.
SELECT name, seq, doc FROM setpoint.session_assets
WHERE tenant_id = $1 AND session_id = $2 AND name > $3 ORDER BY tenant_id, session_id, name LIMIT $4

-- name: one
-- One asset of it.
SELECT name, seq, doc FROM setpoint.session_assets WHERE tenant_id = $1 AND session_id = $2 AND name = $3
