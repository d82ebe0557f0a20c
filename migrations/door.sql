-- name: whoami
-- Asked once per pool: is this the database and the role that the process was built for?
SELECT setpoint.schema_version() AS version, current_user::text AS role

-- name: set_tenant
-- Local to the transaction; row-level security shows this tenant's rows and no others.
SELECT set_config('setpoint.tenant', $1::text, true)
