-- Ground: default rights, the cluster's incarnation, the audit log.
-- The runner has made the schema and schema_versions, and holds the migration lock of this transaction.

-- Functions are executable by PUBLIC unless this is said for every owner, without IN SCHEMA (with it, it does nothing).
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE setpoint_fn REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA setpoint TO setpoint_fn, setpoint_gateway, setpoint_broker, setpoint_celld;

-- First half of every epoch. Only restored() moves it.
CREATE TABLE cluster (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    incarnation int NOT NULL DEFAULT 1,
    restored_at timestamptz
);
INSERT INTO cluster DEFAULT VALUES;

-- Who did what outside a session's log. The nil tenant stands for the platform itself.
CREATE TABLE audit_log (
    tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    audit_id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    action text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant_id, audit_id)
);

GRANT SELECT, UPDATE ON cluster TO setpoint_fn;
GRANT SELECT ON schema_versions TO setpoint_fn;
GRANT SELECT, INSERT ON audit_log TO setpoint_fn;

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- The newest applied version; a daemon whose code does not know it refuses to start.
CREATE FUNCTION schema_version() RETURNS int
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT coalesce(max(version), 0) FROM schema_versions
$$;
GRANT EXECUTE ON FUNCTION schema_version TO setpoint_migrate, setpoint_gateway, setpoint_broker, setpoint_celld;

-- For the functions of this schema alone: nobody else may write the audit log.
CREATE FUNCTION audit(t uuid, what text, about jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    INSERT INTO audit_log (tenant_id, actor, action, detail)
    VALUES (coalesce(t, '00000000-0000-0000-0000-000000000000'), session_user, what, about)
$$;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
