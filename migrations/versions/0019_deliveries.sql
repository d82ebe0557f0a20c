-- An input that ends whole cell hosts is found by the next ones: the head says what was being delivered.

-- How many owners or cells had died of the input noted in `delivering` when it was delivered; nothing without that.
ALTER TABLE session_heads ADD COLUMN delivering_deaths int NOT NULL DEFAULT 0;

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- ok | fenced. Notes which input is about to be decided (a digest of its name, NULL: none) before it is. append_batch
-- clears the note together with what was decided, when its item says so.
CREATE FUNCTION delivery_note(t uuid, s uuid, inc int, e bigint, input bigint, deaths int) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    UPDATE session_heads h SET delivering = input, delivering_deaths = deaths
        WHERE h.tenant_id = t AND h.session_id = s AND h.epoch_inc = inc AND h.epoch = e AND h.owner_host IS NOT NULL;
    RETURN CASE WHEN FOUND THEN 'ok' ELSE 'fenced' END;
END $$;

-- What a former owner was delivering when it ended, and whether it gave the session away before: then the event below
-- the acquire (at `acquired`) says so, and otherwise it died, froze, or was taken for dead.
CREATE FUNCTION delivery_left(t uuid, s uuid, acquired bigint)
RETURNS TABLE (input bigint, deaths int, given boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT h.delivering, h.delivering_deaths, EXISTS (
        SELECT 1 FROM events v WHERE v.tenant_id = t AND v.session_id = s AND v.seq = acquired - 1
            AND v.type IN ('session.created', 'lease.released', 'session.hibernated'))
    FROM session_heads h WHERE h.tenant_id = t AND h.session_id = s
$$;

GRANT EXECUTE ON FUNCTION delivery_note, delivery_left TO setpoint_celld;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
