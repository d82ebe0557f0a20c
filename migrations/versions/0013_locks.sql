-- Locks as an operator sees them: for how long each may be held, and breaking one.

ALTER TABLE asset_locks ADD COLUMN ttl_s double precision;
GRANT SELECT ON asset_locks TO setpoint_gateway;

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- Decides the locks of the items that are still ok, in the order of the batch, and writes who holds what, and until
-- when nobody may break it without force.
-- st: the statuses so far; the answer is the statuses after it, and for a busy item 'key session/execution'.
-- All keys are touched in one order over the whole batch, or two batches that swap keys deadlock.
CREATE OR REPLACE FUNCTION append_locks(it append_item[], st text[], OUT statuses text[], OUT details text[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    held jsonb := '{}';     -- 'tenant/key' -> 'session/execution', '' when free
    ttls jsonb := '{}';     -- 'tenant/key' -> seconds, of what is taken
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
                                                     i.session || '/' || (k ->> 'execution')), '{}'),
                   ttls || coalesce(jsonb_object_agg(i.tenant || '/' || (k ->> 'key'), k -> 'ttl_s'), '{}')
                INTO held, ttls
                FROM jsonb_array_elements(coalesce(i.take, '[]')) k;
        END IF;
    END LOOP;
    UPDATE asset_locks l SET session_id = nullif(split_part(v, '/', 1), '')::uuid,
        execution_id = nullif(split_part(v, '/', 2), '')::uuid,
        since = CASE WHEN v <> '' THEN clock_timestamp() END, ttl_s = (ttls ->> k)::double precision
        FROM jsonb_each_text(held) q (k, v)
        WHERE l.tenant_id = split_part(k, '/', 1)::uuid AND l.lock_key = substr(k, 38)
          AND coalesce(l.session_id || '/' || l.execution_id, '') <> v;
END $$;

-- Takes a lock away from the execution that holds it. ok | already (the same command or idempotency key did it before)
-- | mismatch (the key was used for another request) | free (nobody holds the lock) | young (held for less than its ttl_s,
-- and not forced) | moved (another took it meanwhile: ask again). The row is free at once, whatever became of the holder;
-- who, when, why and from which execution stays in the audit log; the holder's session gets a control command, beyond
-- any quota, and writes lock.broken when it comes to it. Key, head, lock, in this order, as everywhere.
CREATE FUNCTION break_lock(t uuid, k text, cid uuid, who text, why text, forced boolean, ikey text, fp bytea)
RETURNS TABLE (status text, session_id uuid, execution_id uuid, since timestamptz, ttl_s double precision,
               command_id uuid, owner_host text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    seen asset_locks;
    held asset_locks;
    c record;
    q record;
    about jsonb;
    said text := 'already';
    first uuid := cid;
BEGIN
    IF ikey IS NOT NULL THEN
        SELECT * INTO c FROM key_claim(t, ikey, 'command', fp, cid);
        IF NOT c.claimed THEN
            first := c.subject_id;
            said := CASE WHEN c.kind = 'command' AND c.fingerprint = fp THEN 'already' ELSE 'mismatch' END;
        END IF;
    END IF;
    SELECT * INTO q FROM commands x WHERE x.tenant_id = t AND x.command_id = first;
    IF FOUND OR said = 'mismatch' THEN
        RETURN QUERY SELECT said, q.session_id, (q.payload ->> 'execution_id')::uuid, NULL::timestamptz,
            NULL::double precision, first, NULL::text;
        RETURN;
    END IF;
    SELECT * INTO seen FROM asset_locks x WHERE x.tenant_id = t AND x.lock_key = k;
    PERFORM 1 FROM session_heads x WHERE x.tenant_id = t AND x.session_id = seen.session_id FOR NO KEY UPDATE;
    SELECT * INTO held FROM asset_locks x WHERE x.tenant_id = t AND x.lock_key = k FOR UPDATE;
    IF held.session_id IS NULL OR held.execution_id IS DISTINCT FROM seen.execution_id
       OR (NOT forced AND clock_timestamp() < held.since + coalesce(held.ttl_s, 3600) * interval '1 second') THEN
        DELETE FROM idempotency_keys x WHERE x.tenant_id = t AND x.key = ikey AND x.subject_id = cid;
        RETURN QUERY SELECT CASE WHEN held.session_id IS NULL THEN 'free'
            WHEN held.execution_id IS DISTINCT FROM seen.execution_id THEN 'moved' ELSE 'young' END,
            held.session_id, held.execution_id, held.since, coalesce(held.ttl_s, 3600), NULL::uuid, NULL::text;
        RETURN;
    END IF;
    UPDATE asset_locks x SET session_id = NULL, execution_id = NULL, since = NULL, ttl_s = NULL
        WHERE x.tenant_id = t AND x.lock_key = k;
    about := jsonb_build_object('key', k, 'execution_id', held.execution_id, 'by', who, 'reason', why);
    PERFORM audit(t, 'lock.broken', about || jsonb_build_object('session_id', held.session_id, 'since', held.since,
                                                                'ttl_s', held.ttl_s, 'forced', forced));
    SELECT * INTO q FROM enqueue(t, held.session_id, cid, 0, 'lock_broken', about, NULL, NULL, 2147483647);
    RETURN QUERY SELECT 'ok', held.session_id, held.execution_id, held.since, coalesce(held.ttl_s, 3600), q.command_id,
        q.owner_host;
END $$;

GRANT EXECUTE ON FUNCTION break_lock TO setpoint_gateway;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
