-- Hosts of both kinds, and what trust between them starts from. None of this belongs to a tenant.

-- One row per cell host: its lease. fillfactor leaves room for renewals to stay on the page.
CREATE TABLE cell_hosts (
    host_id text PRIMARY KEY,
    incarnation uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('ready', 'draining', 'fenced')),
    address text NOT NULL,
    public_key bytea NOT NULL,
    capacity jsonb NOT NULL DEFAULT '{}',
    renewal_no bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- A sandbox host has no lease: brokers keep its row; its own ledger and epoch floors are what fences it.
CREATE TABLE sandbox_hosts (
    host_id text PRIMARY KEY,
    incarnation uuid NOT NULL,
    ledger_id uuid NOT NULL,
    address text NOT NULL,
    state text NOT NULL CHECK (state IN ('ready', 'draining', 'fenced')),
    capacity jsonb NOT NULL DEFAULT '{}',
    public_key bytea NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Public halves only.
CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    kind text NOT NULL,
    public_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE join_tokens (
    hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE ON cell_hosts, sandbox_hosts TO setpoint_fn;
GRANT SELECT, INSERT ON signing_keys TO setpoint_fn;
GRANT SELECT, INSERT, UPDATE ON join_tokens TO setpoint_fn;
