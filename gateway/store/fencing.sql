-- name: fenced
-- The newest of what was refused, with who had those epochs, and how much there is in all.
SELECT f.kind, f.epoch_inc, f.epoch, f.against_inc, f.against_epoch, f.refused, f.first_at, f.last_at,
    (sum(f.refused) OVER ())::bigint AS refused_in_all,
    (SELECT e.data ->> 'host' FROM setpoint.events e
     WHERE e.tenant_id = f.tenant_id AND e.session_id = f.session_id AND e.type = 'lease.acquired'
       AND e.epoch_inc = f.epoch_inc AND e.epoch = f.epoch LIMIT 1) AS host,
    (SELECT e.data ->> 'host' FROM setpoint.events e
     WHERE e.tenant_id = f.tenant_id AND e.session_id = f.session_id AND e.type = 'lease.acquired'
       AND e.epoch_inc = f.against_inc AND e.epoch = f.against_epoch LIMIT 1) AS against_host
FROM setpoint.fenced_writes f WHERE f.tenant_id = $1 AND f.session_id = $2
ORDER BY f.last_at DESC, f.epoch_inc DESC, f.epoch DESC, f.kind LIMIT $3
