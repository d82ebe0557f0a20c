-- name: page
-- Locks that are held, by key; whether one may be broken without force is judged by the database's clock.
SELECT l.lock_key, l.session_id, s.name AS session_name, l.execution_id, l.since, coalesce(l.ttl_s, 3600) AS ttl_s,
    clock_timestamp() >= l.since + coalesce(l.ttl_s, 3600) * interval '1 second' AS expired
FROM setpoint.asset_locks l JOIN setpoint.sessions s USING (tenant_id, session_id)
WHERE l.tenant_id = $1 AND l.lock_key > $2 ORDER BY l.lock_key LIMIT $3

-- name: break
-- Takes a lock from its holder, and tells it; repeated with the same command id or Idempotency-Key it answers 'already'.
SELECT status, session_id, execution_id, since, ttl_s, command_id, owner_host
FROM setpoint.break_lock($1, $2, $3, $4, $5, $6, $7, $8)
