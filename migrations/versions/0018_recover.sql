-- A failed session is taken up again on request; who asked, and why, stays in the audit log.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- The answers of enqueue, for a command 'recover' in the control lane; pay: {reason}. Whoever owns the session writes
-- session.recovered when it has failed, and otherwise rejects it. Only a call that queued it is audited.
CREATE FUNCTION recover_session(t uuid, s uuid, cid uuid, pay jsonb, ikey text, fp bytea, quota int, who text)
RETURNS TABLE (status text, command_id uuid, inbox_seq bigint, owner_host text, owner_address text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
#variable_conflict use_column
DECLARE
    q record;
BEGIN
    SELECT * INTO q FROM enqueue(t, s, cid, 0::smallint, 'recover', pay, ikey, fp, quota);
    IF q.status = 'ok' THEN
        PERFORM audit(t, 'session.recover', jsonb_build_object('session_id', s, 'command_id', q.command_id, 'by', who,
                                                               'reason', pay ->> 'reason'));
    END IF;
    RETURN QUERY SELECT q.status, q.command_id, q.inbox_seq, q.owner_host, q.owner_address;
END $$;

GRANT EXECUTE ON FUNCTION recover_session TO setpoint_gateway;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
