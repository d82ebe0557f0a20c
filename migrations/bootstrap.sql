-- name: server
-- What we are talking to, before anything is changed.
SELECT current_setting('server_version_num')::int AS version, current_user::text AS role

-- name: roles
-- Roles belong to the whole cluster, so another database's bootstrap may create them at the same moment.
DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['setpoint_fn', 'setpoint_migrate', 'setpoint_gateway', 'setpoint_broker', 'setpoint_celld'] LOOP
        CONTINUE WHEN EXISTS (SELECT 1 FROM pg_roles WHERE rolname = r);
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', r, CASE r WHEN 'setpoint_fn' THEN 'NOLOGIN' ELSE 'LOGIN' END);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;   -- the other one was faster
        END;
    END LOOP;
    -- Membership lets migrate hand functions over, and carries the policy that lets it change rows under forced RLS.
    IF NOT EXISTS (SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
                   WHERE g.rolname = 'setpoint_fn' AND r.rolname = 'setpoint_migrate') THEN
        GRANT setpoint_fn TO setpoint_migrate;
    END IF;
END $$

-- name: too_strong
-- A role that bypasses row-level security would make every policy a decoration.
SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'setpoint\_%' AND rolname = ANY ($1::text[])
    AND (rolsuper OR rolbypassrls)

-- name: settings
-- Bounds of every session of a role. celld's statement bound is far above any batch: it only ends what hangs.
DO $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT * FROM (VALUES
        ('setpoint_gateway', 'lock_timeout', '3s'), ('setpoint_gateway', 'statement_timeout', '10s'),
        ('setpoint_gateway', 'idle_in_transaction_session_timeout', '15s'),
        ('setpoint_broker', 'lock_timeout', '3s'), ('setpoint_broker', 'statement_timeout', '10s'),
        ('setpoint_broker', 'idle_in_transaction_session_timeout', '15s'),
        ('setpoint_celld', 'lock_timeout', '5s'), ('setpoint_celld', 'statement_timeout', '30s'),
        ('setpoint_celld', 'idle_in_transaction_session_timeout', '15s'),
        ('setpoint_migrate', 'lock_timeout', '60s'), ('setpoint_migrate', 'statement_timeout', '0'),
        ('setpoint_migrate', 'idle_in_transaction_session_timeout', '300s')) v (role, name, value) LOOP
        CONTINUE WHEN EXISTS (SELECT 1 FROM pg_db_role_setting d JOIN pg_roles r ON r.oid = d.setrole
            WHERE d.setdatabase = 0 AND r.rolname = s.role AND s.name || '=' || s.value = ANY (d.setconfig));
        EXECUTE format('ALTER ROLE %I SET %I = %L', s.role, s.name, s.value);
    END LOOP;
END $$

-- name: database
-- The schema is setpoint_migrate's own; nobody else may create in this database.
DO $$
BEGIN
    IF NOT has_database_privilege('setpoint_migrate', current_database(), 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO setpoint_migrate', current_database());
    END IF;
END $$

-- name: password
-- A utility statement takes no parameters, so the server quotes the password's verifier into one for us: the password
-- itself is in no statement, hence in no log.
SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)
