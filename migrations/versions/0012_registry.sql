-- The registry: hosts of both kinds, candidates for placement, public keys, join tokens.

GRANT CREATE ON SCHEMA setpoint TO setpoint_fn;
SET LOCAL ROLE setpoint_fn;

-- The caller has checked that the host speaks with its own key. A new incarnation replaces the old one's row.
CREATE FUNCTION sandbox_register(h text, inc uuid, ledger uuid, addr text, pubkey bytea, cap jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    INSERT INTO sandbox_hosts (host_id, incarnation, ledger_id, address, state, capacity, public_key)
    VALUES (h, inc, ledger, addr, 'ready', cap, pubkey)
    ON CONFLICT (host_id) DO UPDATE SET incarnation = excluded.incarnation, ledger_id = excluded.ledger_id,
        address = excluded.address, state = 'ready', capacity = excluded.capacity, public_key = excluded.public_key,
        seen_at = clock_timestamp()
$$;

-- False: this incarnation is not the registered one, or was marked; the host registers again.
CREATE FUNCTION sandbox_seen(h text, inc uuid, cap jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    UPDATE sandbox_hosts SET seen_at = clock_timestamp(), capacity = cap
        WHERE host_id = h AND incarnation = inc AND state <> 'fenced';
    RETURN FOUND;
END $$;

CREATE FUNCTION sandbox_gone(h text, inc uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    UPDATE sandbox_hosts SET state = 'fenced' WHERE host_id = h AND incarnation = inc AND state <> 'fenced';
    RETURN FOUND;
END $$;

-- Every sandbox host; a cell host picks one itself and finds the one of a session it takes over.
CREATE FUNCTION sandboxes()
RETURNS TABLE (host_id text, incarnation uuid, ledger_id uuid, address text, state text, capacity jsonb,
               public_key bytea, seen_age_s float8, sessions bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT b.host_id, b.incarnation, b.ledger_id, b.address, b.state, b.capacity, b.public_key,
        extract(epoch FROM clock_timestamp() - b.seen_at)::float8,
        (SELECT count(*) FROM session_heads x WHERE x.sandbox_host = b.host_id AND x.state = 'open')
    FROM sandbox_hosts b ORDER BY b.host_id
$$;

-- Where a session may be placed: ready, with a live lease.
CREATE FUNCTION cell_candidates()
RETURNS TABLE (host_id text, incarnation uuid, address text, capacity jsonb, sessions bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT c.host_id, c.incarnation, c.address, c.capacity,
        (SELECT count(*) FROM session_heads x
         WHERE x.owner_host = c.host_id AND x.owner_incarnation = c.incarnation)
    FROM cell_hosts c WHERE c.state = 'ready' AND c.lease_expires_at > clock_timestamp() ORDER BY c.host_id
$$;

-- Both kinds, for the operator and for the broker's own checks. expires_in_s: of the lease, null for sandbox hosts.
CREATE FUNCTION hosts()
RETURNS TABLE (kind text, host_id text, incarnation uuid, state text, address text, public_key bytea, capacity jsonb,
               seen_age_s float8, expires_in_s float8, sessions bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT 'cell', c.host_id, c.incarnation, c.state, c.address, c.public_key, c.capacity,
        extract(epoch FROM clock_timestamp() - c.seen_at)::float8,
        CASE WHEN isfinite(c.lease_expires_at)
             THEN extract(epoch FROM c.lease_expires_at - clock_timestamp())::float8 ELSE 0 END,
        (SELECT count(*) FROM session_heads x
         WHERE x.owner_host = c.host_id AND x.owner_incarnation = c.incarnation)
    FROM cell_hosts c
    UNION ALL
    SELECT 'sandbox', b.host_id, b.incarnation, b.state, b.address, b.public_key, b.capacity, b.seen_age_s, NULL,
        b.sessions
    FROM sandboxes() b
    ORDER BY 1, 2
$$;

-- False when the kid is taken by another key. Publishing the same key again is true.
CREATE FUNCTION key_publish(k text, pubkey bytea, what text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    INSERT INTO signing_keys (kid, kind, public_key) VALUES (k, what, pubkey) ON CONFLICT (kid) DO NOTHING;
    RETURN EXISTS (SELECT 1 FROM signing_keys x WHERE x.kid = k AND x.public_key = pubkey AND x.kind = what);
END $$;

CREATE FUNCTION keys() RETURNS TABLE (kid text, kind text, public_key bytea, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT x.kid, x.kind, x.public_key, x.created_at FROM signing_keys x ORDER BY x.created_at, x.kid
$$;

-- Whether a token (its sha256) admits a host now.
CREATE FUNCTION join_token_check(h bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM join_tokens x WHERE x.hash = h AND x.expires_at > clock_timestamp())
$$;

-- The same token again gets the new end.
CREATE FUNCTION join_token_create(h bytea, until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = setpoint, pg_temp AS $$
BEGIN
    INSERT INTO join_tokens (hash, expires_at) VALUES (h, until)
        ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at;
    PERFORM audit(NULL, 'join_token.created', jsonb_build_object('expires_at', until));
END $$;

GRANT EXECUTE ON FUNCTION sandbox_register, sandbox_seen, sandbox_gone, hosts, key_publish, join_token_check
    TO setpoint_broker;
GRANT EXECUTE ON FUNCTION sandboxes TO setpoint_broker, setpoint_celld;
GRANT EXECUTE ON FUNCTION cell_candidates TO setpoint_broker, setpoint_celld, setpoint_gateway;
GRANT EXECUTE ON FUNCTION keys TO setpoint_broker, setpoint_celld, setpoint_gateway;
GRANT EXECUTE ON FUNCTION join_token_create TO setpoint_migrate;

RESET ROLE;
REVOKE CREATE ON SCHEMA setpoint FROM setpoint_fn;
