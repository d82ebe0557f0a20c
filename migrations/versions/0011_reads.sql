-- What celld reads of one session (it has no right on any table), and what the gateway's watcher reads across tenants.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- Commands not accepted yet, control lane first. after0, after1: the last inbox_seq known of each lane; one mark for
-- both would skip work commands that a full page of control commands pushed out.
CREATE FUNCTION inbox(t uuid, s uuid, after0 bigint, after1 bigint, n int)
RETURNS TABLE (lane smallint, inbox_seq bigint, command_id uuid, type text, payload jsonb, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT i.lane, i.inbox_seq, i.command_id, c.type, c.payload, c.at
    FROM command_inbox i JOIN commands c USING (tenant_id, command_id)
    WHERE i.tenant_id = t AND i.session_id = s
      AND ((i.lane = 0 AND i.inbox_seq > after0) OR (i.lane = 1 AND i.inbox_seq > after1))
    ORDER BY i.lane, i.inbox_seq LIMIT n
$$;

CREATE FUNCTION log_page(t uuid, s uuid, after bigint, n int)
RETURNS TABLE (seq bigint, at timestamptz, epoch_inc int, epoch bigint, type text, v int, command_id uuid, asset text,
               execution_id uuid, data jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT e.seq, e.at, e.epoch_inc, e.epoch, e.type, e.v, e.command_id, e.asset, e.execution_id, e.data
    FROM events e WHERE e.tenant_id = t AND e.session_id = s AND e.seq > after ORDER BY e.seq LIMIT n
$$;

CREATE FUNCTION session_row(t uuid, s uuid)
RETURNS TABLE (name text, labels jsonb, created_at timestamptz, closed_at timestamptz, tenant_name text, state text,
               epoch_inc int, epoch bigint, owner_host text, owner_incarnation uuid, head_seq bigint, inbox_head bigint,
               inbox_open int, sandbox_host text, ledger_id uuid, workspace_no int, snapshot_seq bigint,
               delivering bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT x.name, x.labels, x.created_at, x.closed_at, n.name, h.state, h.epoch_inc, h.epoch, h.owner_host,
        h.owner_incarnation, h.head_seq, h.inbox_head, h.inbox_open0 + h.inbox_open1, h.sandbox_host, h.ledger_id,
        h.workspace_no, h.snapshot_seq, h.delivering
    FROM sessions x JOIN session_heads h USING (tenant_id, session_id) LEFT JOIN tenants n USING (tenant_id)
    WHERE x.tenant_id = t AND x.session_id = s
$$;

-- ok | fenced | ahead (no such seq in the log). Keeps this snapshot and the one before it.
CREATE FUNCTION snapshot_write(t uuid, s uuid, inc int, e bigint, at_seq bigint, code text, doc bytea) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    h session_heads;
BEGIN
    SELECT * INTO h FROM session_heads x WHERE x.tenant_id = t AND x.session_id = s FOR NO KEY UPDATE;
    IF (h.epoch_inc, h.epoch) IS DISTINCT FROM (inc, e) OR h.owner_host IS NULL THEN
        RETURN 'fenced';
    ELSIF at_seq > h.head_seq THEN
        RETURN 'ahead';
    END IF;
    INSERT INTO session_snapshots (tenant_id, session_id, seq, code_version, state) VALUES (t, s, at_seq, code, doc)
        ON CONFLICT (tenant_id, session_id, seq) DO UPDATE SET code_version = excluded.code_version,
            state = excluded.state, at = clock_timestamp();
    DELETE FROM session_snapshots x WHERE x.tenant_id = t AND x.session_id = s AND x.seq < (
        SELECT min(y.seq) FROM (SELECT z.seq FROM session_snapshots z WHERE z.tenant_id = t AND z.session_id = s
                                ORDER BY z.seq DESC LIMIT 2) y);
    UPDATE session_heads x SET snapshot_seq = greatest(x.snapshot_seq, at_seq)
        WHERE x.tenant_id = t AND x.session_id = s;
    RETURN 'ok';
END $$;

-- Newest first; the caller takes the first whose code version it can read, else folds the log from its start.
CREATE FUNCTION snapshot_read(t uuid, s uuid) RETURNS TABLE (seq bigint, code_version text, state bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT x.seq, x.code_version, x.state FROM session_snapshots x
    WHERE x.tenant_id = t AND x.session_id = s ORDER BY x.seq DESC LIMIT 2
$$;

-- Pairs by position; a pair that does not exist has no row. The watcher asks for the sessions its clients follow.
CREATE FUNCTION heads(tenants uuid[], sessions uuid[])
RETURNS TABLE (tenant_id uuid, session_id uuid, head_seq bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT h.tenant_id, h.session_id, h.head_seq, h.state
    FROM unnest(tenants, sessions) q (t, s) JOIN session_heads h ON h.tenant_id = q.t AND h.session_id = q.s
$$;

GRANT EXECUTE ON FUNCTION inbox, log_page, session_row, snapshot_write, snapshot_read TO setpoint_celld;
GRANT EXECUTE ON FUNCTION heads TO setpoint_gateway;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
