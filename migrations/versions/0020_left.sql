-- What a drained sandbox host still has: a session that failed and was recovered leaves it like any other.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- At most n of the awake sessions that a host still has: a cell host those it owns, a sandbox host those whose workspace
-- is there. runs: assets that are evaluated or synced now. failed: it has failed since it was last recovered, so nothing
-- runs in it and nothing moves its workspace. total counts those that have not failed.
CREATE OR REPLACE FUNCTION host_left(h text, n int)
RETURNS TABLE (tenant_id uuid, session_id uuid, name text, unended int, runs text[], failed boolean, total bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    WITH held AS (
        SELECT x.tenant_id, x.session_id, x.unended0 + x.unended1 AS unended, false AS failed
        FROM session_heads x WHERE x.owner_host = h
        UNION ALL
        SELECT x.tenant_id, x.session_id, x.unended0 + x.unended1,
            coalesce((SELECT e.type = 'session.failed' FROM events e
                      WHERE e.tenant_id = x.tenant_id AND e.session_id = x.session_id AND e.seq > x.head_seq - 20
                        AND e.type IN ('session.failed', 'session.recovered')
                      ORDER BY e.seq DESC LIMIT 1), false)
        FROM session_heads x WHERE x.sandbox_host = h AND x.state = 'open' AND x.owner_host IS NOT NULL),
    few AS (
        SELECT a.*, count(*) FILTER (WHERE NOT a.failed) OVER () AS total FROM held a
        ORDER BY a.failed, a.tenant_id, a.session_id LIMIT n)
    SELECT a.tenant_id, a.session_id, s.name, a.unended,
        ARRAY(SELECT p.name FROM session_assets p WHERE p.tenant_id = a.tenant_id AND p.session_id = a.session_id
              AND p.doc ->> 'state' IN ('syncing', 'evaluating') ORDER BY 1 LIMIT 4),
        a.failed, a.total
    FROM few a JOIN sessions s USING (tenant_id, session_id) ORDER BY a.failed, s.name, a.session_id
$$;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
