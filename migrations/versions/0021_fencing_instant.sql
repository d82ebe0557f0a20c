-- The first refused write of its kind has one instant: read once, or its first and its last are microseconds apart.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- For the functions of this schema alone, under the head lock of the session: a write under (inc, e) was refused,
-- because the session is at (a_inc, a_e), or was released.
CREATE OR REPLACE FUNCTION fenced_note(t uuid, s uuid, inc int, e bigint, what text, a_inc int, a_e bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    INSERT INTO fenced_writes AS f (tenant_id, session_id, epoch_inc, epoch, kind, against_inc, against_epoch, first_at,
                                    last_at)
        SELECT t, s, inc, e, what, a_inc, a_e, x.at, x.at FROM (SELECT clock_timestamp() AS at OFFSET 0) x
        ON CONFLICT (tenant_id, session_id, epoch_inc, epoch, kind) DO UPDATE SET refused = f.refused + 1,
            against_inc = a_inc, against_epoch = a_e, last_at = excluded.last_at
$$;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
