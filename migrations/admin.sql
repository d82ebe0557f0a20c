-- name: restored
-- The one step after a restore: voids every epoch handed out before.
SELECT incarnation, sessions FROM setpoint.restored()

-- name: tenant_create
-- Idempotent by name.
SELECT setpoint.tenant_create($1)

-- name: tenant_by_name
-- A key is made for a tenant that exists.
SELECT setpoint.tenant_by_name($1)

-- name: key_create
-- Only the hash of the secret is kept.
SELECT setpoint.api_key_create($1, $2, $3, $4)

-- name: join_token_create
-- Only the hash of the token is kept.
SELECT setpoint.join_token_create($1, now() + $2::float8 * interval '1 second')
