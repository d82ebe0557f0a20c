-- What an operator wants of a host: that it serves, takes nothing new (cordon), or gives away what it has (drain); and
-- that a sandbox host is dead for good. The wish belongs to the host and outlives its incarnations, brokers and leases.

ALTER TABLE cell_hosts ADD COLUMN ordered text NOT NULL DEFAULT 'serve'
    CHECK (ordered IN ('serve', 'cordon', 'drain'));
ALTER TABLE sandbox_hosts ADD COLUMN ordered text NOT NULL DEFAULT 'serve'
    CHECK (ordered IN ('serve', 'cordon', 'drain'));
ALTER TABLE sandbox_hosts DROP CONSTRAINT sandbox_hosts_state_check;
ALTER TABLE sandbox_hosts ADD CONSTRAINT sandbox_hosts_state_check
    CHECK (state IN ('ready', 'draining', 'fenced', 'dead'));

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- cell | sandbox: what the host is; null when there is none. Only a change goes into the audit log.
CREATE FUNCTION host_order(h text, word text, why text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    kind text;
    before text;
BEGIN
    IF word IS NULL OR word NOT IN ('serve', 'cordon', 'drain') THEN
        RAISE EXCEPTION 'no such order: %', word USING ERRCODE = '22023';
    END IF;
    SELECT 'cell', c.ordered INTO kind, before FROM cell_hosts c WHERE c.host_id = h FOR NO KEY UPDATE;
    IF kind IS NULL THEN
        SELECT 'sandbox', b.ordered INTO kind, before FROM sandbox_hosts b WHERE b.host_id = h FOR NO KEY UPDATE;
    END IF;
    IF before <> word THEN
        IF kind = 'cell' THEN
            UPDATE cell_hosts c SET ordered = word WHERE c.host_id = h;
        ELSE
            UPDATE sandbox_hosts b SET ordered = word WHERE b.host_id = h;
        END IF;
        PERFORM audit(NULL, 'host.ordered', jsonb_build_object('host', h, 'role', kind, 'ordered', word,
            'before', before, 'reason', why));
    END IF;
    RETURN kind;
END $$;

-- What is wanted of this cell host, and the others that take sessions now: it gives none away while there are none.
CREATE FUNCTION host_told(h text) RETURNS TABLE (ordered text, others text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT coalesce((SELECT c.ordered FROM cell_hosts c WHERE c.host_id = h), 'serve'),
        ARRAY(SELECT c.host_id FROM cell_hosts c
              WHERE c.host_id <> h AND c.state = 'ready' AND c.ordered = 'serve'
                AND c.lease_expires_at > clock_timestamp() ORDER BY 1)
$$;

-- At most n of the awake sessions that a host still has: a cell host those it owns, a sandbox host those whose workspace
-- is there. runs: assets that are evaluated or synced now. failed: nothing runs in it, so nothing moves its workspace.
-- total counts those that have not failed.
CREATE FUNCTION host_left(h text, n int)
RETURNS TABLE (tenant_id uuid, session_id uuid, name text, unended int, runs text[], failed boolean, total bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    WITH held AS (
        SELECT x.tenant_id, x.session_id, x.unended0 + x.unended1 AS unended, false AS failed
        FROM session_heads x WHERE x.owner_host = h
        UNION ALL
        SELECT x.tenant_id, x.session_id, x.unended0 + x.unended1,
            EXISTS (SELECT 1 FROM events e WHERE e.tenant_id = x.tenant_id AND e.session_id = x.session_id
                    AND e.seq > x.head_seq - 20 AND e.type = 'session.failed')
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

-- Whether this call did it. An operator answers for it that nothing of this incarnation runs any more: owners stop
-- waiting for it at once. Only another incarnation of the host comes back, and it proves that its predecessor is gone.
CREATE FUNCTION host_declare_dead(h text, inc uuid, why text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    UPDATE sandbox_hosts b SET state = 'dead' WHERE b.host_id = h AND b.incarnation = inc AND b.state <> 'dead';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM audit(NULL, 'host.declared_dead', jsonb_build_object('host', h, 'incarnation', inc, 'reason', why));
    RETURN true;
END $$;

-- A host that is cordoned or drained claims nothing: what is due waits for another, or for its own uncordon.
CREATE OR REPLACE FUNCTION claim_wakes(me text, n int, hold interval)
RETURNS TABLE (tenant_id uuid, session_id uuid, epoch_inc int, epoch bigint, head_seq bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT 1 FROM cell_hosts c WHERE c.host_id = me AND c.ordered <> 'serve') THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH due AS (
        SELECT w.tenant_id, w.session_id FROM session_wakes w
        WHERE w.wake_at <= clock_timestamp()
          AND (w.prefer_host IS NULL OR w.prefer_host = me OR w.wake_at <= clock_timestamp() - interval '2 s')
          AND (w.avoid_host IS DISTINCT FROM me OR w.wake_at <= clock_timestamp() - interval '5 s')
        ORDER BY w.wake_at LIMIT n FOR UPDATE SKIP LOCKED),
    claimed AS (
        UPDATE session_wakes w SET wake_at = clock_timestamp() + hold FROM due
        WHERE w.tenant_id = due.tenant_id AND w.session_id = due.session_id RETURNING w.tenant_id, w.session_id)
    SELECT h.tenant_id, h.session_id, h.epoch_inc, h.epoch, h.head_seq
    FROM claimed JOIN session_heads h USING (tenant_id, session_id);
END $$;

-- Where a session may be placed: ready, with a live lease, and wanted to serve.
CREATE OR REPLACE FUNCTION cell_candidates()
RETURNS TABLE (host_id text, incarnation uuid, address text, capacity jsonb, sessions bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT c.host_id, c.incarnation, c.address, c.capacity,
        (SELECT count(*) FROM session_heads x
         WHERE x.owner_host = c.host_id AND x.owner_incarnation = c.incarnation)
    FROM cell_hosts c WHERE c.state = 'ready' AND c.ordered = 'serve' AND c.lease_expires_at > clock_timestamp()
    ORDER BY c.host_id
$$;

-- False: an operator declared this incarnation dead, and it stays so. A new incarnation replaces the old one's row.
DROP FUNCTION sandbox_register(text, uuid, uuid, text, bytea, jsonb);
CREATE FUNCTION sandbox_register(h text, inc uuid, ledger uuid, addr text, pubkey bytea, cap jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    INSERT INTO sandbox_hosts AS b (host_id, incarnation, ledger_id, address, state, capacity, public_key)
        VALUES (h, inc, ledger, addr, 'ready', cap, pubkey)
        ON CONFLICT (host_id) DO UPDATE SET incarnation = excluded.incarnation, ledger_id = excluded.ledger_id,
            address = excluded.address, state = 'ready', capacity = excluded.capacity, public_key = excluded.public_key,
            seen_at = clock_timestamp()
            WHERE b.state <> 'dead' OR b.incarnation <> excluded.incarnation;
    RETURN FOUND;
END $$;

-- False: this incarnation is not the registered one, or was marked; the host registers again.
CREATE OR REPLACE FUNCTION sandbox_seen(h text, inc uuid, cap jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    UPDATE sandbox_hosts SET seen_at = clock_timestamp(), capacity = cap
        WHERE host_id = h AND incarnation = inc AND state NOT IN ('fenced', 'dead');
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION sandbox_gone(h text, inc uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    UPDATE sandbox_hosts SET state = 'fenced'
        WHERE host_id = h AND incarnation = inc AND state NOT IN ('fenced', 'dead');
    RETURN FOUND;
END $$;

DROP FUNCTION hosts();
DROP FUNCTION sandboxes();

-- Every sandbox host; a cell host picks one itself and finds the one of a session it takes over.
CREATE FUNCTION sandboxes()
RETURNS TABLE (host_id text, incarnation uuid, ledger_id uuid, address text, state text, capacity jsonb,
               public_key bytea, seen_age_s float8, sessions bigint, ordered text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT b.host_id, b.incarnation, b.ledger_id, b.address, b.state, b.capacity, b.public_key,
        extract(epoch FROM clock_timestamp() - b.seen_at)::float8,
        (SELECT count(*) FROM session_heads x WHERE x.sandbox_host = b.host_id AND x.state = 'open'), b.ordered
    FROM sandbox_hosts b ORDER BY b.host_id
$$;

-- Both kinds, for the operator and for the broker's own checks. expires_in_s: of the lease, null for sandbox hosts.
CREATE FUNCTION hosts()
RETURNS TABLE (kind text, host_id text, incarnation uuid, state text, address text, public_key bytea, capacity jsonb,
               seen_age_s float8, expires_in_s float8, sessions bigint, ordered text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT 'cell', c.host_id, c.incarnation, c.state, c.address, c.public_key, c.capacity,
        extract(epoch FROM clock_timestamp() - c.seen_at)::float8,
        CASE WHEN isfinite(c.lease_expires_at)
             THEN extract(epoch FROM c.lease_expires_at - clock_timestamp())::float8 ELSE 0 END,
        (SELECT count(*) FROM session_heads x
         WHERE x.owner_host = c.host_id AND x.owner_incarnation = c.incarnation), c.ordered
    FROM cell_hosts c
    UNION ALL
    SELECT 'sandbox', b.host_id, b.incarnation, b.state, b.address, b.public_key, b.capacity, b.seen_age_s, NULL,
        b.sessions, b.ordered
    FROM sandboxes() b
    ORDER BY 1, 2
$$;

GRANT EXECUTE ON FUNCTION host_order, host_left, host_declare_dead, sandbox_register, hosts TO setpoint_broker;
GRANT EXECUTE ON FUNCTION host_told TO setpoint_celld;
GRANT EXECUTE ON FUNCTION sandboxes TO setpoint_broker, setpoint_celld;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
