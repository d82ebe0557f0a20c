-- Row-level security. FORCE binds the owner of the tables too, so the functions' role has a policy of its own,
-- which setpoint_migrate carries as its member (without it a migration of rows would silently change none).
-- The gateway sees the tenant named in its transaction. nullif: after a transaction the setting is '' and not NULL.

DO $$
DECLARE
    tbl text;
BEGIN
    FOREACH tbl IN ARRAY ARRAY['tenants', 'api_keys', 'audit_log', 'sessions', 'session_heads', 'session_wakes', 'events',
        'session_snapshots', 'generations', 'session_assets', 'asset_locks', 'commands', 'command_inbox',
        'command_results', 'idempotency_keys'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tbl);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', tbl);
        EXECUTE format('CREATE POLICY platform ON %I TO setpoint_fn USING (true) WITH CHECK (true)', tbl);
        EXECUTE format($p$CREATE POLICY tenant ON %I FOR SELECT TO setpoint_gateway
            USING (tenant_id = nullif(current_setting('setpoint.tenant', true), '')::uuid)$p$, tbl);
    END LOOP;
    -- Through the parent its policies hold; a partition by its own name shows nobody anything.
    FOR i IN 0..7 LOOP
        EXECUTE format('ALTER TABLE events_h%s ENABLE ROW LEVEL SECURITY', i);
        EXECUTE format('ALTER TABLE events_h%s FORCE ROW LEVEL SECURITY', i);
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, session_heads, session_wakes, events, session_snapshots, generations,
    session_assets, asset_locks, commands, command_inbox, command_results, idempotency_keys TO setpoint_fn;

GRANT SELECT ON sessions, events, generations, session_assets, commands, command_inbox, command_results
    TO setpoint_gateway;
GRANT SELECT (tenant_id, session_id, state, epoch_inc, epoch, owner_host, head_seq, inbox_open0, inbox_open1, unended0,
    unended1, sandbox_host, workspace_no, snapshot_seq) ON session_heads TO setpoint_gateway;
