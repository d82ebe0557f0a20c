-- name: create
-- Repeated with the same id it answers 'already'; an Idempotency-Key answers with its first session.
SELECT status, session_id FROM setpoint.create_session($1, $2, $3, $4::text::jsonb, $5, $6, $7)

-- name: by_id
-- A session and its head, from one snapshot. It sleeps while its log ends with its falling asleep and no command waits.
SELECT x.session_id, x.name, x.labels, x.created_at, x.closed_at, h.state, z.asleep, h.epoch_inc, h.epoch, h.owner_host,
    h.head_seq, h.unended0, h.unended1, h.sandbox_host
FROM setpoint.sessions x JOIN setpoint.session_heads h USING (tenant_id, session_id),
    LATERAL (SELECT h.owner_host IS NULL AND h.inbox_open0 + h.inbox_open1 = 0 AND EXISTS (
        SELECT FROM setpoint.events e WHERE e.tenant_id = x.tenant_id AND e.session_id = x.session_id
            AND e.seq = h.head_seq AND e.type = 'session.hibernated') AS asleep) z
WHERE x.tenant_id = $1 AND x.session_id = $2

-- name: by_name
-- The same by name: names are accepted wherever an id is.
SELECT x.session_id, x.name, x.labels, x.created_at, x.closed_at, h.state, z.asleep, h.epoch_inc, h.epoch, h.owner_host,
    h.head_seq, h.unended0, h.unended1, h.sandbox_host
FROM setpoint.sessions x JOIN setpoint.session_heads h USING (tenant_id, session_id),
    LATERAL (SELECT h.owner_host IS NULL AND h.inbox_open0 + h.inbox_open1 = 0 AND EXISTS (
        SELECT FROM setpoint.events e WHERE e.tenant_id = x.tenant_id AND e.session_id = x.session_id
            AND e.seq = h.head_seq AND e.type = 'session.hibernated') AS asleep) z
WHERE x.tenant_id = $1 AND x.name = $2

-- name: page
-- Sessions by id, which is by time of creation.
SELECT x.session_id, x.name, x.labels, x.created_at, x.closed_at, h.state, z.asleep, h.epoch_inc, h.epoch, h.owner_host,
    h.head_seq, h.unended0, h.unended1, h.sandbox_host
FROM setpoint.sessions x JOIN setpoint.session_heads h USING (tenant_id, session_id),
    LATERAL (SELECT h.owner_host IS NULL AND h.inbox_open0 + h.inbox_open1 = 0 AND EXISTS (
        SELECT FROM setpoint.events e WHERE e.tenant_id = x.tenant_id AND e.session_id = x.session_id
            AND e.seq = h.head_seq AND e.type = 'session.hibernated') AS asleep) z
WHERE x.tenant_id = $1 AND x.session_id > $2 ORDER BY x.tenant_id, x.session_id LIMIT $3

-- name: generations
-- Versions of the applied project, newest first.
SELECT generation_no, resources, files, seq, at FROM setpoint.generations
WHERE tenant_id = $1 AND session_id = $2 AND generation_no < $3 ORDER BY generation_no DESC LIMIT $4

-- name: generation
-- One of them.
SELECT generation_no, resources, files, seq, at FROM setpoint.generations
WHERE tenant_id = $1 AND session_id = $2 AND generation_no = $3
