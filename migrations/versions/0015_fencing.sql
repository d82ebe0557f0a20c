-- Writes of owners that are owners no more: refused, counted, and readable for whoever runs the session.

-- One row for each epoch whose writes were refused, and kind of write; kept for a month after the last of them.
CREATE TABLE fenced_writes (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    epoch_inc int NOT NULL,
    epoch bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('append', 'release', 'snapshot')),
    against_inc int NOT NULL,
    against_epoch bigint NOT NULL,
    refused bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id, epoch_inc, epoch, kind)
) WITH (fillfactor = 70);
CREATE INDEX fenced_writes_last ON fenced_writes (last_at);

-- Who was given an epoch stands in the log alone. One row for each take-over, so it costs an append nothing.
CREATE INDEX events_acquired ON events (tenant_id, session_id, epoch_inc, epoch) WHERE type = 'lease.acquired';

ALTER TABLE fenced_writes ENABLE ROW LEVEL SECURITY;
ALTER TABLE fenced_writes FORCE ROW LEVEL SECURITY;
CREATE POLICY platform ON fenced_writes TO setpoint_fn USING (true) WITH CHECK (true);
CREATE POLICY tenant ON fenced_writes FOR SELECT TO setpoint_gateway
    USING (tenant_id = nullif(current_setting('setpoint.tenant', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON fenced_writes TO setpoint_fn;
GRANT SELECT ON fenced_writes TO setpoint_gateway;

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- For the functions of this schema alone, under the head lock of the session: a write under (inc, e) was refused,
-- because the session is at (a_inc, a_e), or was released.
CREATE FUNCTION fenced_note(t uuid, s uuid, inc int, e bigint, what text, a_inc int, a_e bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    INSERT INTO fenced_writes AS f (tenant_id, session_id, epoch_inc, epoch, kind, against_inc, against_epoch, first_at,
                                    last_at)
        VALUES (t, s, inc, e, what, a_inc, a_e, clock_timestamp(), clock_timestamp())
        ON CONFLICT (tenant_id, session_id, epoch_inc, epoch, kind) DO UPDATE SET refused = f.refused + 1,
            against_inc = a_inc, against_epoch = a_e, last_at = excluded.last_at
$$;

-- items: a jsonb array, validated by celld; a session at most once. One row per item, ord is its 1-based position:
-- ok (seq: the new head) | already (this batch was committed before) | fenced (epoch_inc, epoch: the newer one; also:
-- released) | truncated (the head is below the item's: the log was lost) | moved_head (above it: a bug of the cell)
-- | lock_busy (detail: key and holder) | gone. Nothing of an item that is not ok is written; a bad item (22, 23)
-- fails the call. plpgsql and not one statement: each statement sees what was committed while the one before waited.
-- Writes go by full keys under generic plans: a join with jsonb elements is planned for 100 rows and reads whole inboxes.
CREATE OR REPLACE FUNCTION append_batch(items jsonb)
RETURNS TABLE (ord int, status text, seq bigint, epoch_inc int, epoch bigint, detail text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    el jsonb[];
    it append_item[];
    n int;
    r record;
    o int;
    st text[];
    sq bigint[];
    ei int[];
    ep bigint[];
    de text[];
    good int[];
BEGIN
    SELECT array_agg(e ORDER BY x), array_agg(jsonb_populate_record(NULL::append_item, e) ORDER BY x) INTO el, it
        FROM jsonb_array_elements(items) WITH ORDINALITY q (e, x);
    n := coalesce(cardinality(it), 0);
    IF n = 0 THEN
        RETURN;
    END IF;
    IF (SELECT count(DISTINCT (a.tenant, a.session)) FROM unnest(it) a) <> n THEN
        RAISE EXCEPTION 'a session twice in one batch' USING ERRCODE = '22023';
    END IF;
    st := array_fill('gone'::text, ARRAY[n]);
    sq := array_fill(NULL::bigint, ARRAY[n]);
    ei := array_fill(NULL::int, ARRAY[n]);
    ep := array_fill(NULL::bigint, ARRAY[n]);
    de := array_fill(NULL::text, ARRAY[n]);

    -- 1. Lock the heads in order and decide, before anything is written.
    FOR r IN
        SELECT g.x, h.epoch_inc, h.epoch, h.head_seq, h.last_batch_id, h.owner_host
        FROM generate_series(1, n) g (x)
        JOIN session_heads h ON h.tenant_id = (it[g.x]).tenant AND h.session_id = (it[g.x]).session
        ORDER BY h.tenant_id, h.session_id FOR NO KEY UPDATE OF h
    LOOP
        sq[r.x] := r.head_seq;
        ei[r.x] := r.epoch_inc;
        ep[r.x] := r.epoch;
        st[r.x] := CASE
            WHEN (r.epoch_inc, r.epoch) <> ((it[r.x]).inc, (it[r.x]).epoch) OR r.owner_host IS NULL THEN 'fenced'
            WHEN r.last_batch_id = (it[r.x]).batch THEN 'already'
            WHEN r.head_seq < (it[r.x]).head_seq THEN 'truncated'
            WHEN r.head_seq > (it[r.x]).head_seq THEN 'moved_head'
            ELSE 'ok' END;
    END LOOP;
    IF EXISTS (SELECT 1 FROM generate_series(1, n) g (x) WHERE st[g.x] = 'ok'
               AND jsonb_array_length(coalesce((it[g.x]).take, '[]') || coalesce((it[g.x]).give, '[]')) > 0) THEN
        SELECT l.statuses, l.details INTO st, de FROM append_locks(it, st) l;
    END IF;
    SELECT array_agg(g.x ORDER BY g.x) INTO good FROM generate_series(1, n) g (x) WHERE st[g.x] = 'ok';

    -- 2. Write the items that are ok.
    IF good IS NOT NULL THEN
        FOREACH o IN ARRAY good LOOP
            IF coalesce(jsonb_array_length((it[o]).events), 0) = 0 OR (it[o]).batch IS NULL THEN
                -- the compare-and-set is the moved head; without events there is none
                RAISE EXCEPTION 'an item needs events and a batch id' USING ERRCODE = '22023';
            END IF;
            sq[o] := (it[o]).head_seq + jsonb_array_length((it[o]).events);
        END LOOP;
        UPDATE session_heads h SET head_seq = sq[g.x], last_batch_id = a.batch,
            inbox_open0 = h.inbox_open0 - (SELECT count(*) FROM jsonb_array_elements(a.ack) k WHERE k ->> 0 = '0'),
            inbox_open1 = h.inbox_open1 - (SELECT count(*) FROM jsonb_array_elements(a.ack) k WHERE k ->> 0 = '1'),
            unended0 = h.unended0 - (SELECT count(*) FROM jsonb_array_elements(a.results) k WHERE k ->> 'lane' = '0'),
            unended1 = h.unended1 - (SELECT count(*) FROM jsonb_array_elements(a.results) k WHERE k ->> 'lane' = '1'),
            sandbox_host = CASE WHEN a.sandbox IS NULL THEN h.sandbox_host ELSE a.sandbox ->> 'host' END,
            ledger_id = CASE WHEN a.sandbox IS NULL THEN h.ledger_id ELSE (a.sandbox ->> 'ledger_id')::uuid END,
            workspace_no = CASE WHEN a.sandbox IS NULL THEN h.workspace_no
                                ELSE (a.sandbox ->> 'workspace_no')::int END,
            delivering = CASE WHEN el[g.x] ? 'delivering' THEN (el[g.x] ->> 'delivering')::bigint ELSE h.delivering END
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a
            WHERE h.tenant_id = a.tenant AND h.session_id = a.session;
        INSERT INTO events (tenant_id, session_id, seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id,
                            data)
            SELECT a.tenant, a.session, a.head_seq + q.y, instant(q.e -> 'at'), a.inc, a.epoch, q.e ->> 'type',
                coalesce((q.e ->> 'v')::int, 1), (q.e ->> 'command_id')::uuid, q.e ->> 'asset',
                (q.e ->> 'execution_id')::uuid, coalesce(q.e -> 'data', '{}')
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a,
                 jsonb_array_elements(a.events) WITH ORDINALITY q (e, y);
        FOR r IN SELECT a.tenant, a.session, (q ->> 0)::smallint AS lane, (q ->> 1)::bigint AS no
                 FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a, jsonb_array_elements(a.ack) q LOOP
            DELETE FROM command_inbox c WHERE c.tenant_id = r.tenant AND c.session_id = r.session
                AND c.lane = r.lane AND c.inbox_seq = r.no;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'acknowledged what is not in the inbox: % %/%', r.session, r.lane, r.no
                    USING ERRCODE = '23503';
            END IF;
        END LOOP;
        INSERT INTO command_results (tenant_id, command_id, session_id, status, result, seq)
            SELECT a.tenant, (q ->> 'command_id')::uuid, a.session, q ->> 'status', q -> 'result', sq[g.x]
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a, jsonb_array_elements(a.results) q;
        INSERT INTO session_assets (tenant_id, session_id, name, seq, doc)
            SELECT a.tenant, a.session, q ->> 'name', sq[g.x], q -> 'doc'
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a, jsonb_array_elements(a.assets) q
            WHERE jsonb_typeof(q -> 'doc') <> 'null'
            ON CONFLICT (tenant_id, session_id, name) DO UPDATE SET seq = excluded.seq, doc = excluded.doc;
        FOR r IN SELECT a.tenant, a.session, q ->> 'name' AS name
                 FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a, jsonb_array_elements(a.assets) q
                 WHERE coalesce(jsonb_typeof(q -> 'doc'), 'null') = 'null' LOOP
            DELETE FROM session_assets p WHERE p.tenant_id = r.tenant AND p.session_id = r.session AND p.name = r.name;
        END LOOP;
        INSERT INTO generations (tenant_id, session_id, generation_no, resources, files, seq, at)
            SELECT a.tenant, a.session, (a.generation ->> 'n')::bigint, a.generation ->> 'resources',
                a.generation ->> 'files', sq[g.x], instant(a.events -> -1 -> 'at')
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a WHERE a.generation IS NOT NULL;
    END IF;

    -- 3. Keep count of the stale ones: their heads are locked, too, so two batches never cross here.
    IF 'fenced' = ANY (st) THEN
        PERFORM fenced_note((it[g.x]).tenant, (it[g.x]).session, (it[g.x]).inc, (it[g.x]).epoch, 'append', ei[g.x],
                            ep[g.x])
            FROM generate_series(1, n) g (x) WHERE st[g.x] = 'fenced';
    END IF;
    RETURN QUERY SELECT g.x, st[g.x], sq[g.x], ei[g.x], ep[g.x], de[g.x] FROM generate_series(1, n) g (x);
END $$;

-- ok | fenced (also: released before, which is success for a repeated call) | moved_head | busy (commands wait:
-- hibernate and close refuse, drain and move never do). Drain and move are due at once, hibernate at next_wake.
CREATE OR REPLACE FUNCTION release(t uuid, s uuid, inc int, e bigint, hs bigint, mode text, next_wake timestamptz,
                                   target text, avoid text)
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
        IF (x.epoch_inc, x.epoch) <> (inc, e) THEN    -- under the same epoch it is a repeated call, and no stale one
            PERFORM fenced_note(t, s, inc, e, 'release', x.epoch_inc, x.epoch);
        END IF;
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

-- ok | fenced | ahead (no such seq in the log). Keeps this snapshot and the one before it.
CREATE OR REPLACE FUNCTION snapshot_write(t uuid, s uuid, inc int, e bigint, at_seq bigint, code text, doc bytea)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    h session_heads;
BEGIN
    SELECT * INTO h FROM session_heads x WHERE x.tenant_id = t AND x.session_id = s FOR NO KEY UPDATE;
    IF (h.epoch_inc, h.epoch) IS DISTINCT FROM (inc, e) OR h.owner_host IS NULL THEN
        IF h.session_id IS NOT NULL THEN
            PERFORM fenced_note(t, s, inc, e, 'snapshot', h.epoch_inc, h.epoch);
        END IF;
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

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
