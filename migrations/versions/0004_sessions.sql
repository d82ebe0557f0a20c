-- Sessions: what is fixed, the hot head, the log, and what is projected from it.
-- No foreign keys between these: every row is written under the head lock, and their checks would lock what is hot.

CREATE TABLE sessions (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$'),
    labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object' AND octet_length(labels::text) <= 16384),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    PRIMARY KEY (tenant_id, session_id),
    UNIQUE (tenant_id, name)
);

-- The one row every writer of a session locks. Narrow, so that an append stays a HOT update.
-- inbox_openN: commands of lane N not accepted yet (release looks at it); unendedN: not ended yet (the quota).
CREATE TABLE session_heads (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    epoch_inc int NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    owner_host text,
    owner_incarnation uuid,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    head_seq bigint NOT NULL DEFAULT 0,
    last_batch_id uuid,
    inbox_head bigint NOT NULL DEFAULT 0,
    inbox_open0 int NOT NULL DEFAULT 0,
    inbox_open1 int NOT NULL DEFAULT 0,
    unended0 int NOT NULL DEFAULT 0,
    unended1 int NOT NULL DEFAULT 0,
    sandbox_host text,
    ledger_id uuid,
    workspace_no int NOT NULL DEFAULT 0,
    snapshot_seq bigint NOT NULL DEFAULT 0,
    delivering bigint,
    CHECK (inbox_open0 >= 0 AND inbox_open1 >= 0 AND unended0 >= 0 AND unended1 >= 0),
    CHECK ((owner_host IS NULL) = (owner_incarnation IS NULL)),
    PRIMARY KEY (tenant_id, session_id)
) WITH (fillfactor = 50);
-- An append changes neither column, so it stays off this index.
CREATE INDEX session_heads_owner ON session_heads (owner_host, owner_incarnation) WHERE owner_host IS NOT NULL;

-- One row per session that nobody alive owns and that has something to do.
CREATE TABLE session_wakes (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    wake_at timestamptz NOT NULL,
    prefer_host text,
    avoid_host text,
    PRIMARY KEY (tenant_id, session_id)
) WITH (fillfactor = 70);
CREATE INDEX session_wakes_at ON session_wakes (wake_at);

-- The log. Eight partitions: a generic plan locks them all, and more would leave the fast-path lock slots.
-- The bound on data is twice what celld lets through, because jsonb prints wider than it came.
CREATE TABLE events (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    epoch_inc int NOT NULL,
    epoch bigint NOT NULL,
    type text NOT NULL,
    v int NOT NULL DEFAULT 1,
    command_id uuid,
    asset text,
    execution_id uuid,
    data jsonb NOT NULL CHECK (octet_length(data::text) <= 65536),
    PRIMARY KEY (tenant_id, session_id, seq)
) PARTITION BY HASH (tenant_id);
CREATE TABLE events_h0 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE events_h1 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE events_h2 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE events_h3 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE events_h4 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE events_h5 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE events_h6 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE events_h7 PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER 7);

-- A fold of the log up to seq, by one code version. A cache: the log alone is the truth.
CREATE TABLE session_snapshots (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    seq bigint NOT NULL,
    code_version text NOT NULL,
    state bytea NOT NULL CHECK (octet_length(state) <= 67108864),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, session_id, seq)
);

-- Versions of the applied project; resources and files name blobs by sha256.
CREATE TABLE generations (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    generation_no bigint NOT NULL,
    resources text NOT NULL,
    files text NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id, generation_no)
);

-- Projection of the assets: reads never wake a cell. seq is the last event the document contains.
CREATE TABLE session_assets (
    tenant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    name text NOT NULL,
    seq bigint NOT NULL,
    doc jsonb NOT NULL,
    PRIMARY KEY (tenant_id, session_id, name)
) WITH (fillfactor = 70);

-- Tenant-wide locks of running syncs. A free key keeps its row, with no holder.
CREATE TABLE asset_locks (
    tenant_id uuid NOT NULL,
    lock_key text NOT NULL,
    session_id uuid,
    execution_id uuid,
    since timestamptz,
    PRIMARY KEY (tenant_id, lock_key)
) WITH (fillfactor = 50);
