-- The way of a command into a session's inbox.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- Who runs a session and where; no row when nobody does.
CREATE FUNCTION session_owner(t uuid, s uuid) RETURNS TABLE (host_id text, address text, incarnation uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT c.host_id, c.address, c.incarnation
    FROM session_heads h JOIN cell_hosts c ON c.host_id = h.owner_host AND c.incarnation = h.owner_incarnation
    WHERE h.tenant_id = t AND h.session_id = s
$$;

-- ok | replay (the same key or command again: command_id is the first answer) | mismatch (the key or the command id
-- was used for another request) | not_found | closed | full (quota commands of this lane have not ended).
-- Nothing is kept of a refused call. owner_* is where to poke, null when nobody owns the session.
CREATE FUNCTION enqueue(t uuid, s uuid, cid uuid, ln int, ty text, p jsonb, k text, fp bytea, quota int)
RETURNS TABLE (status text, command_id uuid, inbox_seq bigint, owner_host text, owner_address text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c record;
    h session_heads;
    o record;
    known uuid;
    verdict text := 'ok';
BEGIN
    IF k IS NOT NULL THEN
        SELECT * INTO c FROM key_claim(t, k, 'command', fp, cid);
        IF NOT c.claimed AND (c.kind <> 'command' OR c.fingerprint <> fp) THEN
            RETURN QUERY SELECT 'mismatch', NULL::uuid, NULL::bigint, NULL::text, NULL::text;
            RETURN;
        ELSIF NOT c.claimed THEN
            SELECT * INTO o FROM session_owner(t, s);
            RETURN QUERY SELECT 'replay', c.subject_id, NULL::bigint, o.host_id, o.address;
            RETURN;
        END IF;
    END IF;
    SELECT * INTO h FROM session_heads x WHERE x.tenant_id = t AND x.session_id = s FOR NO KEY UPDATE;
    SELECT * INTO o FROM session_owner(t, s);
    -- The gateway's own retry without a key. Before any refusal: the command itself may be what filled the lane.
    SELECT x.session_id INTO known FROM commands x WHERE x.tenant_id = t AND x.command_id = cid;
    IF known = s THEN
        RETURN QUERY SELECT 'replay', cid, NULL::bigint, o.host_id, o.address;
        RETURN;
    END IF;
    verdict := CASE
        WHEN known IS NOT NULL THEN 'mismatch'
        WHEN h.session_id IS NULL THEN 'not_found'
        WHEN h.state = 'closed' THEN 'closed'
        WHEN CASE ln WHEN 0 THEN h.unended0 ELSE h.unended1 END >= quota THEN 'full'
        ELSE 'ok' END;
    IF verdict <> 'ok' THEN
        DELETE FROM idempotency_keys x WHERE x.tenant_id = t AND x.key = k AND x.subject_id = cid;
        RETURN QUERY SELECT verdict, NULL::uuid, NULL::bigint, NULL::text, NULL::text;
        RETURN;
    END IF;
    INSERT INTO commands (tenant_id, command_id, session_id, lane, type, payload) VALUES (t, cid, s, ln, ty, p);
    UPDATE session_heads x SET inbox_head = x.inbox_head + 1,
        inbox_open0 = x.inbox_open0 + (ln = 0)::int, inbox_open1 = x.inbox_open1 + (ln = 1)::int,
        unended0 = x.unended0 + (ln = 0)::int, unended1 = x.unended1 + (ln = 1)::int
        WHERE x.tenant_id = t AND x.session_id = s;
    INSERT INTO command_inbox (tenant_id, session_id, lane, inbox_seq, command_id)
        VALUES (t, s, ln, h.inbox_head + 1, cid);
    IF h.owner_host IS NULL THEN
        INSERT INTO session_wakes AS w (tenant_id, session_id, wake_at) VALUES (t, s, clock_timestamp())
            ON CONFLICT (tenant_id, session_id) DO UPDATE SET wake_at = excluded.wake_at
            WHERE w.wake_at > excluded.wake_at;
    END IF;
    RETURN QUERY SELECT 'ok', cid, h.inbox_head + 1, o.host_id, o.address;
END $$;

GRANT EXECUTE ON FUNCTION enqueue, session_owner TO setpoint_gateway;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
