-- name: authenticate
-- What is known of a key by its public half; the secret is compared by the gateway, in constant time.
SELECT tenant_id, tenant_name, hash, revoked_at IS NOT NULL AS revoked FROM setpoint.authenticate($1)
