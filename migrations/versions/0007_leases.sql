-- Leases of cell hosts. A lease only says when someone may try; the epoch in a session's head decides.
-- Lock order everywhere: idempotency key, heads by (tenant, session), lock keys by (tenant, key), cell_hosts, wakes.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- ok | fenced (this incarnation was marked: come back as a new one) | key_mismatch (another key holds a live lease).
-- A new incarnation fences its predecessor and makes that one's sessions due, in one transaction.
CREATE FUNCTION host_register(h text, inc uuid, addr text, pubkey bytea, cap jsonb, ttl interval)
RETURNS TABLE (status text, renewal_no bigint, cluster_incarnation int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    old cell_hosts;
    ci int;
BEGIN
    SELECT incarnation INTO ci FROM cluster;
    INSERT INTO cell_hosts AS c (host_id, incarnation, state, address, public_key, capacity, lease_expires_at)
        VALUES (h, inc, 'ready', addr, pubkey, cap, clock_timestamp() + ttl)
        ON CONFLICT (host_id) DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT 'ok', 0::bigint, ci;
        RETURN;
    END IF;
    SELECT * INTO old FROM cell_hosts c WHERE c.host_id = h FOR NO KEY UPDATE;
    IF old.incarnation = inc THEN      -- its own retry: nothing may undo a mark
        IF old.state <> 'fenced' THEN
            UPDATE cell_hosts c SET lease_expires_at = clock_timestamp() + ttl, seen_at = clock_timestamp(),
                address = addr, capacity = cap WHERE c.host_id = h;
        END IF;
        RETURN QUERY SELECT CASE old.state WHEN 'fenced' THEN 'fenced' ELSE 'ok' END, old.renewal_no, ci;
        RETURN;
    END IF;
    IF old.public_key <> pubkey AND old.state <> 'fenced' AND old.lease_expires_at > clock_timestamp() THEN
        RETURN QUERY SELECT 'key_mismatch', old.renewal_no, ci;
        RETURN;
    END IF;
    UPDATE cell_hosts c SET incarnation = inc, state = 'ready', address = addr, public_key = pubkey, capacity = cap,
        renewal_no = 0, lease_expires_at = clock_timestamp() + ttl, seen_at = clock_timestamp(),
        started_at = clock_timestamp() WHERE c.host_id = h;
    INSERT INTO session_wakes AS w (tenant_id, session_id, wake_at, prefer_host)
        SELECT x.tenant_id, x.session_id, clock_timestamp(), h FROM session_heads x
        WHERE x.owner_host = h AND x.owner_incarnation <> inc ORDER BY 1, 2
        ON CONFLICT (tenant_id, session_id) DO UPDATE SET wake_at = least(w.wake_at, excluded.wake_at), prefer_host = h;
    RETURN QUERY SELECT 'ok', 0::bigint, ci;
END $$;

-- ok | went_back (the database's counter is below the caller's: an older database) | fenced (also: no such row).
CREATE FUNCTION host_renew(h text, inc uuid, last_no bigint, ttl interval)
RETURNS TABLE (status text, renewal_no bigint, cluster_incarnation int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c cell_hosts;
    ci int;
BEGIN
    SELECT incarnation INTO ci FROM cluster;
    UPDATE cell_hosts x SET lease_expires_at = clock_timestamp() + ttl, seen_at = clock_timestamp(),
        renewal_no = x.renewal_no + 1
        WHERE x.host_id = h AND x.incarnation = inc AND x.state <> 'fenced' AND x.renewal_no >= last_no
        RETURNING x.* INTO c;
    IF FOUND THEN
        RETURN QUERY SELECT 'ok', c.renewal_no, ci;
        RETURN;
    END IF;
    SELECT * INTO c FROM cell_hosts x WHERE x.host_id = h;
    RETURN QUERY SELECT CASE WHEN c.incarnation = inc AND c.state <> 'fenced' THEN 'went_back' ELSE 'fenced' END,
        c.renewal_no, ci;
END $$;

-- Marks the incarnation and makes every session of it due; -1 when its lease lives and nobody saw it refuse.
-- refused: the caller was refused at the advertised address. Marking twice is harmless and finds late sessions.
CREATE FUNCTION host_dead(h text, inc uuid, refused boolean) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    n int;
BEGIN
    UPDATE cell_hosts c SET state = 'fenced'
        WHERE c.host_id = h AND c.incarnation = inc AND c.state <> 'fenced'
          AND (refused OR c.lease_expires_at < clock_timestamp());
    IF FOUND THEN
        PERFORM audit(NULL, 'host.fenced', jsonb_build_object('host', h, 'incarnation', inc,
            'proof', CASE WHEN refused THEN 'refused' ELSE 'expired' END));
    ELSIF EXISTS (SELECT 1 FROM cell_hosts c WHERE c.host_id = h AND c.incarnation = inc AND c.state <> 'fenced') THEN
        RETURN -1;
    END IF;
    INSERT INTO session_wakes (tenant_id, session_id, wake_at)
        SELECT x.tenant_id, x.session_id, clock_timestamp() FROM session_heads x
        WHERE x.owner_host = h AND x.owner_incarnation = inc ORDER BY 1, 2
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;

-- Owners recorded in some head that are fenced, expired, or replaced by a later incarnation, and whose sessions are
-- not all due yet. Walks the distinct owners by the index, not the sessions: it is asked once a second by every host.
CREATE FUNCTION dead_hosts() RETURNS TABLE (host_id text, incarnation uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    WITH RECURSIVE owner (h, i) AS (
        (SELECT x.owner_host, x.owner_incarnation FROM session_heads x WHERE x.owner_host IS NOT NULL
         ORDER BY 1, 2 LIMIT 1)
        UNION ALL
        SELECT n.h, n.i FROM owner o CROSS JOIN LATERAL (
            SELECT x.owner_host AS h, x.owner_incarnation AS i FROM session_heads x
            WHERE x.owner_host IS NOT NULL AND (x.owner_host, x.owner_incarnation) > (o.h, o.i)
            ORDER BY 1, 2 LIMIT 1) n)
    SELECT o.h, o.i FROM owner o
    WHERE NOT EXISTS (SELECT 1 FROM cell_hosts c WHERE c.host_id = o.h AND c.incarnation = o.i
                      AND c.state <> 'fenced' AND c.lease_expires_at >= clock_timestamp())
      AND EXISTS (SELECT 1 FROM session_heads x WHERE x.owner_host = o.h AND x.owner_incarnation = o.i
                  AND NOT EXISTS (SELECT 1 FROM session_wakes w
                                  WHERE w.tenant_id = x.tenant_id AND w.session_id = x.session_id))
$$;

-- What is recorded as mine, and whether commands wait: one index scan per poll.
CREATE FUNCTION owned(h text, inc uuid)
RETURNS TABLE (tenant_id uuid, session_id uuid, epoch_inc int, epoch bigint, head_seq bigint, open int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT tenant_id, session_id, epoch_inc, epoch, head_seq, inbox_open0 + inbox_open1
    FROM session_heads WHERE owner_host = h AND owner_incarnation = inc
$$;

GRANT EXECUTE ON FUNCTION host_register, host_renew, owned TO setpoint_celld;
GRANT EXECUTE ON FUNCTION host_dead, dead_hosts TO setpoint_celld, setpoint_broker;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
