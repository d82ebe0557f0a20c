-- name: enqueue
-- The one way of a command into a session; repeated with the same command id it answers 'replay'.
SELECT status, command_id, inbox_seq, owner_host, owner_address
FROM setpoint.enqueue($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9)

-- name: recover
-- The same for the command that takes a failed session up again: who asked for it goes into the audit log.
SELECT status, command_id, inbox_seq, owner_host, owner_address
FROM setpoint.recover_session($1, $2, $3, $4::text::jsonb, $5, $6, $7, $8)

-- name: first_answer
-- The place in the inbox that a replayed command got: from the queue, or from its acceptance in the log.
SELECT c.type, c.session_id, coalesce(
    (SELECT i.inbox_seq FROM setpoint.command_inbox i
     WHERE i.tenant_id = c.tenant_id AND i.session_id = c.session_id AND i.command_id = c.command_id),
    (SELECT (e.data ->> 'inbox_seq')::bigint FROM setpoint.events e
     WHERE e.tenant_id = c.tenant_id AND e.session_id = c.session_id AND e.type = 'command.accepted'
       AND e.command_id = c.command_id ORDER BY e.seq DESC LIMIT 1)) AS inbox_seq
FROM setpoint.commands c WHERE c.tenant_id = $1 AND c.command_id = $2

-- name: one
-- A command with its end, if it has one; the head is of the same snapshot, so an end not seen here lies behind it.
SELECT c.command_id, c.session_id, c.type, c.payload, c.at, r.status, r.result, r.seq, r.at AS ended_at, h.head_seq,
    EXISTS (SELECT 1 FROM setpoint.command_inbox i WHERE i.tenant_id = c.tenant_id
            AND i.session_id = c.session_id AND i.command_id = c.command_id) AS queued
FROM setpoint.commands c
JOIN setpoint.session_heads h USING (tenant_id, session_id)
LEFT JOIN setpoint.command_results r USING (tenant_id, command_id)
WHERE c.tenant_id = $1 AND c.session_id = $2 AND c.command_id = $3

-- name: page
-- Commands newest first; ids are ordered by time.
SELECT c.command_id, c.session_id, c.type, c.payload, c.at, r.status, r.result, r.seq, r.at AS ended_at, h.head_seq,
    EXISTS (SELECT 1 FROM setpoint.command_inbox i WHERE i.tenant_id = c.tenant_id
            AND i.session_id = c.session_id AND i.command_id = c.command_id) AS queued
FROM setpoint.commands c
JOIN setpoint.session_heads h USING (tenant_id, session_id)
LEFT JOIN setpoint.command_results r USING (tenant_id, command_id)
WHERE c.tenant_id = $1 AND c.session_id = $2 AND c.command_id < $3 ORDER BY c.command_id DESC LIMIT $4
