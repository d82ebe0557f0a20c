-- Fewer turns of a command's way: a page of the log in one statement, and no call or statement where none is needed.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- A page of the log, bounded in rows and in bytes, and where the log ends; the page's first row always comes. A log with
-- nothing more to read is one row without a seq.
-- With the rights of the caller: row-level security shows it what t may see, and no more, as in a transaction of its
-- own, of which this is the first, the second and the last turn. The setting ends with that transaction.
CREATE FUNCTION tenant_log(t uuid, s uuid, after bigint, n int, bytes_max bigint)
RETURNS TABLE (head_seq bigint, state text, seq bigint, at timestamptz, epoch_inc int, epoch bigint, type text, v int,
               command_id uuid, asset text, execution_id uuid, data jsonb)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('setpoint.tenant', t::text, true);
    RETURN QUERY SELECT h.head_seq, h.state, q.* FROM session_heads h LEFT JOIN LATERAL (
            SELECT p.seq, p.at, p.epoch_inc, p.epoch, p.type, p.v, p.command_id, p.asset, p.execution_id, p.data FROM (
                SELECT e.*, sum(octet_length(e.data::text) + 256) OVER (ORDER BY e.seq) AS bytes FROM (
                    SELECT * FROM events x WHERE x.tenant_id = t AND x.session_id = s AND x.seq > after
                    ORDER BY x.seq LIMIT n) e) p
            WHERE p.bytes <= bytes_max OR p.seq = after + 1) q ON true
        WHERE h.tenant_id = t AND h.session_id = s ORDER BY q.seq;
END $$;

GRANT EXECUTE ON FUNCTION tenant_log TO setpoint_gateway;

-- ok | replay (the same key or command again: command_id is the first answer) | mismatch (the key or the command id
-- was used for another request) | not_found | closed | full (quota commands of this lane have not ended).
-- Nothing is kept of a refused call. owner_* is where to poke, null when nobody owns the session.
CREATE OR REPLACE FUNCTION enqueue(t uuid, s uuid, cid uuid, ln int, ty text, p jsonb, k text, fp bytea, quota int)
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
    SELECT x.host_id, x.address INTO o FROM cell_hosts x
        WHERE x.host_id = h.owner_host AND x.incarnation = h.owner_incarnation;
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
    good int[] := '{}';
    locks boolean := false;
    acks boolean := false;
    results boolean := false;
    assets boolean := false;
    generations boolean := false;
BEGIN
    SELECT array_agg(e ORDER BY x), array_agg(jsonb_populate_record(NULL::append_item, e) ORDER BY x) INTO el, it
        FROM jsonb_array_elements(items) WITH ORDINALITY q (e, x);
    n := coalesce(cardinality(it), 0);
    IF n = 0 THEN
        RETURN;
    END IF;
    IF n > 1 AND (SELECT count(DISTINCT (a.tenant, a.session)) FROM unnest(it) a) <> n THEN
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
    FOR o IN 1..n LOOP
        locks := locks OR (st[o] = 'ok' AND ((it[o]).take <> '[]' IS TRUE OR (it[o]).give <> '[]' IS TRUE));
    END LOOP;
    IF locks THEN
        SELECT l.statuses, l.details INTO st, de FROM append_locks(it, st) l;
    END IF;

    -- 2. Write the items that are ok. What no item has costs no statement.
    FOR o IN 1..n LOOP
        CONTINUE WHEN st[o] <> 'ok';
        IF coalesce(jsonb_array_length((it[o]).events), 0) = 0 OR (it[o]).batch IS NULL THEN
            -- the compare-and-set is the moved head; without events there is none
            RAISE EXCEPTION 'an item needs events and a batch id' USING ERRCODE = '22023';
        END IF;
        good := good || o;
        sq[o] := (it[o]).head_seq + jsonb_array_length((it[o]).events);
        acks := acks OR (it[o]).ack <> '[]' IS TRUE;
        results := results OR (it[o]).results <> '[]' IS TRUE;
        assets := assets OR (it[o]).assets <> '[]' IS TRUE;
        generations := generations OR (it[o]).generation IS NOT NULL;
    END LOOP;
    IF good <> '{}' THEN
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
            SELECT a.tenant, a.session, a.head_seq + q.y,
                -- what instant() does, without a call for each event
                CASE jsonb_typeof(q.e -> 'at')
                    WHEN 'number' THEN timestamptz 'epoch' + (q.e -> 'at')::bigint * interval '1 microsecond'
                    ELSE (q.e ->> 'at')::timestamptz END,
                a.inc, a.epoch, q.e ->> 'type',
                coalesce((q.e ->> 'v')::int, 1), (q.e ->> 'command_id')::uuid, q.e ->> 'asset',
                (q.e ->> 'execution_id')::uuid, coalesce(q.e -> 'data', '{}')
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a,
                 jsonb_array_elements(a.events) WITH ORDINALITY q (e, y);
    END IF;
    IF acks THEN
        FOR r IN SELECT a.tenant, a.session, (q ->> 0)::smallint AS lane, (q ->> 1)::bigint AS no
                 FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a, jsonb_array_elements(a.ack) q LOOP
            DELETE FROM command_inbox c WHERE c.tenant_id = r.tenant AND c.session_id = r.session
                AND c.lane = r.lane AND c.inbox_seq = r.no;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'acknowledged what is not in the inbox: % %/%', r.session, r.lane, r.no
                    USING ERRCODE = '23503';
            END IF;
        END LOOP;
    END IF;
    IF results THEN
        INSERT INTO command_results (tenant_id, command_id, session_id, status, result, seq)
            SELECT a.tenant, (q ->> 'command_id')::uuid, a.session, q ->> 'status', q -> 'result', sq[g.x]
            FROM unnest(good) g (x), LATERAL (SELECT (it[g.x]).*) a, jsonb_array_elements(a.results) q;
    END IF;
    IF assets THEN
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
    END IF;
    IF generations THEN
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

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
