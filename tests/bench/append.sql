-- name: fill
-- Commands for every session of the bench, the way the gateway enqueues them, but all at once and without its quota.
SELECT count(*) FILTER (WHERE e.status = 'ok')
FROM setpoint.sessions x, generate_series(1, $2::int) n,
    LATERAL setpoint.enqueue(x.tenant_id, x.session_id, gen_random_uuid(), 0,
        CASE n % 2 WHEN 1 THEN 'halt' ELSE 'unhalt' END,
        CASE n % 2 WHEN 1 THEN '{"reason": "bench"}' ELSE '{}' END::jsonb, NULL, NULL, 1000000000) e
WHERE x.name LIKE $1

-- name: waiting
-- Commands that nobody has accepted yet.
SELECT coalesce(sum(h.inbox_open0 + h.inbox_open1), 0)::bigint
FROM setpoint.session_heads h JOIN setpoint.sessions x USING (tenant_id, session_id) WHERE x.name LIKE $1

-- name: written
-- What was written after an instant: events, sessions, seconds from the first to the last, bytes of their data.
SELECT count(*) AS events, count(DISTINCT session_id) AS sessions,
    extract(epoch FROM max(at) - min(at))::float8 AS span_s, avg(octet_length(data::text))::float8 AS data_bytes
FROM setpoint.events WHERE at > to_timestamp($1::float8) AND type <> 'lease.acquired'
