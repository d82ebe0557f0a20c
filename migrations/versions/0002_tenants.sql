-- Tenants and their API keys. A key is sp_<key_id>_<secret>; only sha256(secret) is kept.

CREATE TABLE tenants (
    tenant_id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE api_keys (
    tenant_id uuid NOT NULL,
    key_id text NOT NULL UNIQUE,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, key_id),
    FOREIGN KEY (tenant_id) REFERENCES tenants
);

GRANT SELECT, INSERT ON tenants TO setpoint_fn;
GRANT SELECT, INSERT, UPDATE ON api_keys TO setpoint_fn;

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- What the gateway needs to judge a key; it compares the hash itself, in constant time. No row: no such key.
CREATE FUNCTION authenticate(kid text) RETURNS TABLE (tenant_id uuid, tenant_name text, hash bytea, revoked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT k.tenant_id, t.name, k.hash, k.revoked_at
    FROM api_keys k JOIN tenants t USING (tenant_id) WHERE k.key_id = kid
$$;

-- Idempotent by name: the id of the tenant that is there, or of a new one.
CREATE FUNCTION tenant_create(nm text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
DECLARE
    id uuid := gen_random_uuid();
BEGIN
    INSERT INTO tenants (tenant_id, name) VALUES (id, nm) ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        PERFORM audit(id, 'tenant.created', jsonb_build_object('name', nm));
        RETURN id;
    END IF;
    RETURN (SELECT tenant_id FROM tenants WHERE name = nm);
END $$;

-- tenant_by_name: null when there is none.
CREATE FUNCTION tenant_by_name(nm text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT tenant_id FROM tenants WHERE name = nm
$$;

-- A known key_id raises 23505, an unknown tenant 23503.
CREATE FUNCTION api_key_create(t uuid, kid text, h bytea, nm text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    INSERT INTO api_keys (tenant_id, key_id, hash, name) VALUES (t, kid, h, nm);
    PERFORM audit(t, 'api_key.created', jsonb_build_object('key_id', kid, 'name', nm));
END $$;

GRANT EXECUTE ON FUNCTION authenticate TO setpoint_gateway;
GRANT EXECUTE ON FUNCTION tenant_create, tenant_by_name, api_key_create TO setpoint_migrate;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
