-- Commands: the request never changes, the inbox is a thin queue, the result is one row.

CREATE TABLE commands (
    tenant_id uuid NOT NULL,
    command_id uuid NOT NULL,
    session_id uuid NOT NULL,
    lane smallint NOT NULL CHECK (lane IN (0, 1)),
    type text NOT NULL,
    payload jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, command_id)
);
-- The list of a session's commands; ids are ordered by time.
CREATE INDEX commands_session ON commands (tenant_id, session_id, command_id);

CREATE TABLE command_inbox (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    lane smallint NOT NULL,
    inbox_seq bigint NOT NULL,
    command_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, session_id, lane, inbox_seq)
);

CREATE TABLE command_results (
    tenant_id uuid NOT NULL,
    command_id uuid NOT NULL,
    session_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('succeeded', 'failed', 'cancelled', 'rejected', 'quarantined')),
    result jsonb,
    seq bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, command_id)
);

-- kind keeps a key that was used for a command from answering for a session.
CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    key text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('command', 'session')),
    fingerprint bytea NOT NULL,
    subject_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
