-- name: register
-- Begin a lease as a new incarnation; the sessions of the one before become due.
SELECT status, renewal_no FROM setpoint.host_register($1, $2, $3, $4, $5, $6)

-- name: renew
-- Go on with the lease, unless somebody marked this incarnation or the database is older than our last renewal.
SELECT status, renewal_no FROM setpoint.host_renew($1, $2, $3, $4)
