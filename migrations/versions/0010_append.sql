-- append_batch: the one way a cell's decision becomes true.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

CREATE TYPE append_item AS (
    tenant uuid, session uuid, inc int, epoch bigint, head_seq bigint, batch uuid,
    events jsonb,           -- [{type, v?, at, command_id?, asset?, execution_id?, data?}], at least one
    ack jsonb,              -- [[lane, inbox_seq]]: accepted, leaves the inbox
    results jsonb,          -- [{command_id, lane, status, result?}]: ended
    assets jsonb,           -- [{name, doc}]: projection; doc null removes the row
    take jsonb, give jsonb, -- [{key, execution}]: asset locks
    sandbox jsonb,          -- {host, ledger_id, workspace_no}
    generation jsonb        -- {n, resources, files}
);

-- An instant as the writer gives it: microseconds since the epoch (number), or RFC 3339 (string).
CREATE FUNCTION instant(at jsonb) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT CASE jsonb_typeof(at)
        WHEN 'number' THEN timestamptz 'epoch' + (at::bigint) * interval '1 microsecond'
        ELSE (at #>> '{}')::timestamptz END
$$;

-- Decides the locks of the items that are still ok, in the order of the batch, and writes who holds what.
-- st: the statuses so far; the answer is the statuses after it, and for a busy item 'key session/execution'.
-- All keys are touched in one order over the whole batch, or two batches that swap keys deadlock.
CREATE FUNCTION append_locks(it append_item[], st text[], OUT statuses text[], OUT details text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    held jsonb := '{}';     -- 'tenant/key' -> 'session/execution', '' when free
    freed jsonb;
    i append_item;
    r record;
    o int;
    who text;
BEGIN
    statuses := st;
    details := array_fill(NULL::text, ARRAY[cardinality(it)]);
    FOR r IN
        INSERT INTO asset_locks AS l (tenant_id, lock_key)
        SELECT DISTINCT (it[g.x]).tenant, k ->> 'key'
        FROM generate_series(1, cardinality(it)) g (x),
             jsonb_array_elements(coalesce((it[g.x]).take, '[]') || coalesce((it[g.x]).give, '[]')) k
        WHERE st[g.x] = 'ok' ORDER BY 1, 2
        ON CONFLICT (tenant_id, lock_key) DO UPDATE SET lock_key = excluded.lock_key RETURNING l.*
    LOOP
        held := held || jsonb_build_object(r.tenant_id || '/' || r.lock_key,
                                           coalesce(r.session_id || '/' || r.execution_id, ''));
    END LOOP;
    FOR o IN 1..cardinality(it) LOOP
        CONTINUE WHEN st[o] <> 'ok';
        i := it[o];
        -- What the item itself gives is free for what it takes; what it does not hold it cannot give.
        SELECT coalesce(jsonb_object_agg(i.tenant || '/' || (g ->> 'key'), ''), '{}') INTO freed
            FROM jsonb_array_elements(coalesce(i.give, '[]')) g
            WHERE held ->> (i.tenant || '/' || (g ->> 'key')) = i.session || '/' || (g ->> 'execution');
        FOR r IN SELECT k ->> 'key' AS key, k ->> 'execution' AS execution
                 FROM jsonb_array_elements(coalesce(i.take, '[]')) k LOOP
            who := (held || freed) ->> (i.tenant || '/' || r.key);
            IF who <> '' AND who <> i.session || '/' || r.execution THEN
                statuses[o] := 'lock_busy';
                details[o] := r.key || ' ' || who;
            END IF;
        END LOOP;
        IF statuses[o] = 'ok' THEN
            held := held || freed;
            SELECT held || coalesce(jsonb_object_agg(i.tenant || '/' || (k ->> 'key'),
                                                     i.session || '/' || (k ->> 'execution')), '{}') INTO held
                FROM jsonb_array_elements(coalesce(i.take, '[]')) k;
        END IF;
    END LOOP;
    UPDATE asset_locks l SET session_id = nullif(split_part(v, '/', 1), '')::uuid,
        execution_id = nullif(split_part(v, '/', 2), '')::uuid,
        since = CASE WHEN v <> '' THEN clock_timestamp() END
        FROM jsonb_each_text(held) q (k, v)
        WHERE l.tenant_id = split_part(k, '/', 1)::uuid AND l.lock_key = substr(k, 38)
          AND coalesce(l.session_id || '/' || l.execution_id, '') <> v;
END $$;

-- items: a jsonb array, validated by celld; a session at most once. One row per item, ord is its 1-based position:
-- ok (seq: the new head) | already (this batch was committed before) | fenced (epoch_inc, epoch: the newer one; also:
-- released) | truncated (the head is below the item's: the log was lost) | moved_head (above it: a bug of the cell)
-- | lock_busy (detail: key and holder) | gone. Nothing of an item that is not ok is written; a bad item (22, 23)
-- fails the call. plpgsql and not one statement: each statement sees what was committed while the one before waited.
-- Writes go by full keys under generic plans: a join with jsonb elements is planned for 100 rows and reads whole inboxes.
CREATE FUNCTION append_batch(items jsonb)
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
    RETURN QUERY SELECT g.x, st[g.x], sq[g.x], ei[g.x], ep[g.x], de[g.x] FROM generate_series(1, n) g (x);
END $$;

GRANT EXECUTE ON FUNCTION append_batch TO setpoint_celld;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
