-- The janitor's calls: what nobody needs any more goes, a few rows at a time. Run by brokers, as many as there are.
-- Each call takes at most n rows, passes over those that somebody holds, and waits for nobody; a call that answers n has
-- more to do. None of them is needed for anything to be right: a row that is left lies there and is never believed.

CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
GRANT DELETE ON cell_hosts, sandbox_hosts, join_tokens TO setpoint_fn;

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- Keys that answer for nothing any more. A claim of the same key at this moment waits for one short transaction.
CREATE FUNCTION sweep_keys(n int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    at timestamptz := clock_timestamp();
    gone int;
BEGIN
    DELETE FROM idempotency_keys k USING (
        SELECT x.tenant_id, x.key FROM idempotency_keys x WHERE x.expires_at < at
        ORDER BY x.expires_at LIMIT n FOR UPDATE SKIP LOCKED) old
        WHERE k.tenant_id = old.tenant_id AND k.key = old.key;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Due rows of sessions that somebody alive owns, left by a mark that was overtaken: every claim would find them again.
-- Should the owner die at this moment, dead_hosts finds a session without a row and makes it due once more.
CREATE FUNCTION sweep_wakes(n int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    at timestamptz := clock_timestamp();
    gone int;
BEGIN
    DELETE FROM session_wakes w USING (
        SELECT h.tenant_id, h.session_id FROM session_wakes x JOIN session_heads h USING (tenant_id, session_id)
        JOIN cell_hosts c ON c.host_id = h.owner_host AND c.incarnation = h.owner_incarnation
        WHERE x.wake_at <= at + interval '1 min' AND c.state <> 'fenced' AND c.lease_expires_at >= at
        LIMIT n FOR NO KEY UPDATE OF h SKIP LOCKED) owned
        WHERE w.tenant_id = owned.tenant_id AND w.session_id = owned.session_id;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Keys that nobody holds: whoever takes one makes its row again.
CREATE FUNCTION sweep_locks(n int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    gone int;
BEGIN
    DELETE FROM asset_locks l USING (
        SELECT x.tenant_id, x.lock_key FROM asset_locks x WHERE x.session_id IS NULL LIMIT n FOR UPDATE SKIP LOCKED) free
        WHERE l.tenant_id = free.tenant_id AND l.lock_key = free.lock_key;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- What was refused to ended epochs, when the last refusal is older than keep.
CREATE FUNCTION sweep_fenced(n int, keep interval) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    before timestamptz := clock_timestamp() - keep;
    gone int;
BEGIN
    DELETE FROM fenced_writes f USING (
        SELECT x.tenant_id, x.session_id, x.epoch_inc, x.epoch, x.kind FROM fenced_writes x WHERE x.last_at < before
        ORDER BY x.last_at LIMIT n FOR UPDATE SKIP LOCKED) old
        WHERE f.tenant_id = old.tenant_id AND f.session_id = old.session_id AND f.epoch_inc = old.epoch_inc
          AND f.epoch = old.epoch AND f.kind = old.kind;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Cell hosts that were marked, have not been seen for keep, and own nothing. A host without a row hears what a marked
-- one hears: fenced. It may come back under any key, as it may while its row says that it is dead.
CREATE FUNCTION sweep_cells(n int, keep interval) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    before timestamptz := clock_timestamp() - keep;
    gone text[];
BEGIN
    WITH old AS (
        SELECT x.host_id FROM cell_hosts x
        WHERE x.state = 'fenced' AND x.seen_at < before AND x.lease_expires_at < before
          AND NOT EXISTS (SELECT 1 FROM session_heads h WHERE h.owner_host = x.host_id)
        LIMIT n FOR UPDATE SKIP LOCKED),
    removed AS (DELETE FROM cell_hosts c USING old WHERE c.host_id = old.host_id RETURNING c.host_id)
    SELECT array_agg(r.host_id ORDER BY r.host_id) INTO gone FROM removed r;
    IF gone IS NOT NULL THEN
        PERFORM audit(NULL, 'hosts.removed', jsonb_build_object('role', 'cell', 'hosts', to_jsonb(gone)));
    END IF;
    RETURN coalesce(cardinality(gone), 0);
END $$;

-- Sandbox hosts that have not been seen for keep and that no open session names.
CREATE FUNCTION sweep_sandboxes(n int, keep interval) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    before timestamptz := clock_timestamp() - keep;
    gone text[];
BEGIN
    WITH old AS (
        SELECT x.host_id FROM sandbox_hosts x WHERE x.seen_at < before
          AND NOT EXISTS (SELECT 1 FROM session_heads h WHERE h.sandbox_host = x.host_id AND h.state = 'open')
        LIMIT n FOR UPDATE SKIP LOCKED),
    removed AS (DELETE FROM sandbox_hosts b USING old WHERE b.host_id = old.host_id RETURNING b.host_id)
    SELECT array_agg(r.host_id ORDER BY r.host_id) INTO gone FROM removed r;
    IF gone IS NOT NULL THEN
        PERFORM audit(NULL, 'hosts.removed', jsonb_build_object('role', 'sandbox', 'hosts', to_jsonb(gone)));
    END IF;
    RETURN coalesce(cardinality(gone), 0);
END $$;

-- Join tokens that admit nobody any more.
CREATE FUNCTION sweep_tokens(n int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    gone int;
BEGIN
    DELETE FROM join_tokens j USING (
        SELECT x.hash FROM join_tokens x WHERE x.expires_at < clock_timestamp() LIMIT n FOR UPDATE SKIP LOCKED) old
        WHERE j.hash = old.hash;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

GRANT EXECUTE ON FUNCTION sweep_keys, sweep_wakes, sweep_locks, sweep_fenced, sweep_cells, sweep_sandboxes, sweep_tokens
    TO setpoint_broker;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
