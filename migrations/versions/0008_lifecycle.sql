-- The life of a session's ownership: create, wake, acquire, release, and what follows a restore.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- Claims an idempotency key for a subject, before anything else is locked. The row that holds the key afterwards:
-- claimed is true when it is the caller's own new claim.
CREATE FUNCTION key_claim(t uuid, k text, what text, fp bytea, subject uuid)
RETURNS TABLE (claimed boolean, kind text, fingerprint bytea, subject_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO idempotency_keys AS x (tenant_id, key, kind, fingerprint, subject_id, expires_at)
        VALUES (t, k, what, fp, subject, clock_timestamp() + interval '24 h')
        ON CONFLICT (tenant_id, key) DO UPDATE SET kind = excluded.kind, fingerprint = excluded.fingerprint,
            subject_id = excluded.subject_id, expires_at = excluded.expires_at
            WHERE x.expires_at < clock_timestamp();
    IF FOUND THEN
        RETURN QUERY SELECT true, what, fp, subject;
    ELSE    -- a new statement, so a new snapshot: it sees the winner we waited for
        RETURN QUERY SELECT false, x.kind, x.fingerprint, x.subject_id FROM idempotency_keys x
            WHERE x.tenant_id = t AND x.key = k;
    END IF;
END $$;

-- ok | already (the same call again: session_id is the first answer) | conflict (the name is taken, session_id has it)
-- | mismatch (the key was used for another request). Nothing is kept of a refused call.
CREATE FUNCTION create_session(t uuid, s uuid, nm text, lbls jsonb, prefer text, k text, fp bytea)
RETURNS TABLE (status text, session_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    c record;
    other sessions;
    ci int;
BEGIN
    IF k IS NOT NULL THEN
        SELECT * INTO c FROM key_claim(t, k, 'session', fp, s);
        IF NOT c.claimed THEN
            RETURN QUERY SELECT CASE WHEN c.kind = 'session' AND c.fingerprint = fp THEN 'already' ELSE 'mismatch' END,
                CASE WHEN c.kind = 'session' AND c.fingerprint = fp THEN c.subject_id END;
            RETURN;
        END IF;
    END IF;
    INSERT INTO sessions (tenant_id, session_id, name, labels) VALUES (t, s, nm, coalesce(lbls, '{}'))
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO other FROM sessions x WHERE x.tenant_id = t AND x.session_id = s AND x.name = nm;
        IF FOUND THEN
            RETURN QUERY SELECT 'already', s;
            RETURN;
        END IF;
        DELETE FROM idempotency_keys x WHERE x.tenant_id = t AND x.key = k AND x.subject_id = s;
        RETURN QUERY SELECT 'conflict', (SELECT x.session_id FROM sessions x WHERE x.tenant_id = t AND x.name = nm);
        RETURN;
    END IF;
    SELECT incarnation INTO ci FROM cluster;
    INSERT INTO session_heads (tenant_id, session_id, epoch_inc, head_seq) VALUES (t, s, ci, 1);
    INSERT INTO events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, data)
        VALUES (t, s, 1, clock_timestamp(), ci, 0, 'session.created',
                jsonb_build_object('name', nm, 'labels', coalesce(lbls, '{}')));
    INSERT INTO session_wakes (tenant_id, session_id, wake_at, prefer_host) VALUES (t, s, clock_timestamp(), prefer);
    RETURN QUERY SELECT 'ok', s;
END $$;

-- Run it in a transaction of its own, then acquire one by one: in one transaction the two deadlock with enqueue.
-- A claim only postpones, so a claimer that dies costs `hold`. A preferred host has its rows alone for 2 s;
-- a host that gave a session away because it could not serve it does not see it for 5 s.
CREATE FUNCTION claim_wakes(me text, n int, hold interval)
RETURNS TABLE (tenant_id uuid, session_id uuid, epoch_inc int, epoch bigint, head_seq bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
BEGIN
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

-- ok | mine (an unknown commit repeated) | held (the owner's lease lives) | moved (the epoch is not the expected one)
-- | no_lease (the caller's own lease) | closed | gone. The one place that deletes a wake row.
CREATE FUNCTION acquire(t uuid, s uuid, h text, inc uuid, want_inc int, want bigint)
RETURNS TABLE (status text, epoch_inc int, epoch bigint, head_seq bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    x session_heads;
    verdict text;
BEGIN
    SELECT * INTO x FROM session_heads y WHERE y.tenant_id = t AND y.session_id = s FOR NO KEY UPDATE;
    verdict := CASE
        WHEN x.session_id IS NULL THEN 'gone'
        WHEN x.state = 'closed' THEN 'closed'
        WHEN x.owner_host = h AND x.owner_incarnation = inc THEN 'mine'
        WHEN (x.epoch_inc, x.epoch) IS DISTINCT FROM (want_inc, want) THEN 'moved'
        WHEN NOT EXISTS (SELECT 1 FROM cell_hosts c WHERE c.host_id = h AND c.incarnation = inc AND c.state = 'ready'
                         AND c.lease_expires_at > clock_timestamp()) THEN 'no_lease'
        ELSE 'ok' END;
    IF verdict = 'ok' AND x.owner_host IS NOT NULL THEN
        -- An expired holder loses its whole incarnation here: were it able to renew, its syncs would overlap ours.
        UPDATE cell_hosts c SET state = 'fenced'
            WHERE c.host_id = x.owner_host AND c.incarnation = x.owner_incarnation AND c.state <> 'fenced'
              AND c.lease_expires_at < clock_timestamp();
        IF NOT FOUND AND EXISTS (SELECT 1 FROM cell_hosts c WHERE c.host_id = x.owner_host
                                 AND c.incarnation = x.owner_incarnation AND c.state <> 'fenced') THEN
            verdict := 'held';
        END IF;
    END IF;
    IF verdict = 'closed' THEN    -- its owner closed it after a false mark had made it due
        DELETE FROM session_wakes w WHERE w.tenant_id = t AND w.session_id = s;
    END IF;
    IF verdict <> 'ok' THEN
        RETURN QUERY SELECT verdict, x.epoch_inc, x.epoch, x.head_seq;
        RETURN;
    END IF;
    UPDATE session_heads y SET epoch_inc = c.incarnation, epoch = y.epoch + 1, owner_host = h, owner_incarnation = inc,
        head_seq = y.head_seq + 1, last_batch_id = NULL
        FROM cluster c WHERE y.tenant_id = t AND y.session_id = s RETURNING y.* INTO x;
    INSERT INTO events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, data)
        VALUES (t, s, x.head_seq, clock_timestamp(), x.epoch_inc, x.epoch, 'lease.acquired',
                jsonb_build_object('host', h, 'incarnation', inc));
    DELETE FROM session_wakes w WHERE w.tenant_id = t AND w.session_id = s;
    RETURN QUERY SELECT 'ok', x.epoch_inc, x.epoch, x.head_seq;
END $$;

-- ok | fenced (also: released before, which is success for a repeated call) | moved_head | busy (commands wait:
-- hibernate and close refuse, drain and move never do). Drain and move are due at once, hibernate at next_wake.
CREATE FUNCTION release(t uuid, s uuid, inc int, e bigint, hs bigint, mode text, next_wake timestamptz, target text,
                        avoid text)
RETURNS TABLE (status text, seq bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    x session_heads;
    due timestamptz;
BEGIN
    IF mode NOT IN ('hibernate', 'close', 'drain', 'move') OR mode IS NULL THEN
        RAISE EXCEPTION 'no such release mode: %', mode USING ERRCODE = '22023';
    END IF;
    SELECT * INTO x FROM session_heads y WHERE y.tenant_id = t AND y.session_id = s FOR NO KEY UPDATE;
    IF (x.epoch_inc, x.epoch) IS DISTINCT FROM (inc, e) OR x.owner_host IS NULL THEN
        RETURN QUERY SELECT 'fenced', x.head_seq;
        RETURN;
    ELSIF x.head_seq <> hs THEN
        RETURN QUERY SELECT 'moved_head', x.head_seq;
        RETURN;
    ELSIF mode IN ('hibernate', 'close') AND x.inbox_open0 + x.inbox_open1 > 0 THEN
        RETURN QUERY SELECT 'busy', x.head_seq;
        RETURN;
    END IF;
    UPDATE session_heads y SET owner_host = NULL, owner_incarnation = NULL, head_seq = hs + 1, last_batch_id = NULL,
        state = CASE mode WHEN 'close' THEN 'closed' ELSE 'open' END
        WHERE y.tenant_id = t AND y.session_id = s;
    INSERT INTO events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, data)
        VALUES (t, s, hs + 1, clock_timestamp(), inc, e,
                CASE mode WHEN 'hibernate' THEN 'session.hibernated' WHEN 'close' THEN 'session.closed'
                     ELSE 'lease.released' END,
                jsonb_build_object('mode', mode));
    IF mode = 'close' THEN
        UPDATE sessions z SET closed_at = clock_timestamp() WHERE z.tenant_id = t AND z.session_id = s;
    END IF;
    due := CASE mode WHEN 'hibernate' THEN next_wake WHEN 'close' THEN NULL ELSE clock_timestamp() END;
    IF due IS NOT NULL THEN
        INSERT INTO session_wakes (tenant_id, session_id, wake_at, prefer_host, avoid_host)
            VALUES (t, s, due, target, avoid)
            ON CONFLICT (tenant_id, session_id) DO UPDATE SET wake_at = excluded.wake_at,
                prefer_host = excluded.prefer_host, avoid_host = excluded.avoid_host;
    END IF;
    RETURN QUERY SELECT 'ok', hs + 1;
END $$;

-- After a restore or a lossy failover, before any daemon runs: every epoch handed out before is void.
-- The heads take the new incarnation at once; were it left to acquire, a surviving owner could still append.
CREATE FUNCTION restored() RETURNS TABLE (incarnation int, sessions bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    ci int;
    n bigint;
BEGIN
    LOCK TABLE session_heads IN SHARE ROW EXCLUSIVE MODE;
    UPDATE cluster c SET incarnation = c.incarnation + 1, restored_at = clock_timestamp() RETURNING c.incarnation INTO ci;
    UPDATE cell_hosts SET state = 'fenced', lease_expires_at = '-infinity';
    INSERT INTO session_wakes AS w (tenant_id, session_id, wake_at)
        SELECT h.tenant_id, h.session_id, clock_timestamp() FROM session_heads h
        WHERE h.state = 'open' AND (h.owner_host IS NOT NULL OR h.inbox_open0 + h.inbox_open1 > 0
                                    OR h.unended0 + h.unended1 > 0)
        ORDER BY 1, 2
        ON CONFLICT (tenant_id, session_id) DO UPDATE SET wake_at = excluded.wake_at, prefer_host = NULL,
            avoid_host = NULL;
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE session_heads SET epoch_inc = ci, owner_host = NULL, owner_incarnation = NULL, last_batch_id = NULL;
    PERFORM audit(NULL, 'cluster.restored', jsonb_build_object('incarnation', ci, 'sessions', n));
    RETURN QUERY SELECT ci, n;
END $$;

GRANT EXECUTE ON FUNCTION create_session TO setpoint_gateway;
GRANT EXECUTE ON FUNCTION claim_wakes, acquire, release TO setpoint_celld;
GRANT EXECUTE ON FUNCTION restored TO setpoint_migrate;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
