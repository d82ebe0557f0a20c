-- name: page
-- The projection, by name; reading it wakes nobody.
SELECT name, seq, doc FROM setpoint.session_assets
WHERE tenant_id = $1 AND session_id = $2 AND name > $3 ORDER BY tenant_id, session_id, name LIMIT $4

-- name: one
-- One asset of it.
SELECT name, seq, doc FROM setpoint.session_assets WHERE tenant_id = $1 AND session_id = $2 AND name = $3

-- name: with_above
-- An asset, the session's own row (the empty name), and what is above the asset as far as it is blocked: what explains it.
WITH RECURSIVE above (name) AS (
    SELECT $3::text
    UNION
    SELECT u.name FROM above b JOIN setpoint.session_assets a
        ON a.tenant_id = $1 AND a.session_id = $2 AND a.name = b.name AND a.doc -> 'blocked_by' <> '[]'::jsonb
    CROSS JOIN LATERAL jsonb_array_elements_text(a.doc -> 'upstreams') u (name)
)
SELECT a.name, a.seq, a.doc FROM setpoint.session_assets a
WHERE a.tenant_id = $1 AND a.session_id = $2 AND (a.name = '' OR a.name IN (SELECT name FROM above LIMIT $4))
