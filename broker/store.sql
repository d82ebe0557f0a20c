-- name: key_publish
-- Every host must be able to verify what this broker signs; false means the kid belongs to another key.
SELECT setpoint.key_publish($1, $2, $3)

-- name: keys
-- All brokers' public halves: the union is what verifies host tokens.
SELECT kid, public_key FROM setpoint.keys() WHERE kind = $1

-- name: join_token_check
-- Only the hash of a join token is kept.
SELECT setpoint.join_token_check($1)

-- name: hosts
-- Both kinds, for placement and for the operator.
SELECT kind, host_id, incarnation, state, address, public_key, capacity, seen_age_s, expires_in_s, sessions, ordered
FROM setpoint.hosts()

-- name: bound
-- Whose a host id is already.
SELECT kind, public_key FROM setpoint.hosts() WHERE host_id = $1

-- name: host_order
-- Null: there is no such host.
SELECT setpoint.host_order($1, $2, $3)

-- name: host_left
-- What a drained host still has; the total is in each row.
SELECT tenant_id, session_id, name, unended, runs, failed, total FROM setpoint.host_left($1, $2)

-- name: host_declare_dead
-- False: this incarnation is not the registered one, or was declared dead before.
SELECT setpoint.host_declare_dead($1, $2, $3)

-- name: sandbox_register
-- A sandbox host has no way to the database: its broker keeps its row. False: it was declared dead.
SELECT setpoint.sandbox_register($1, $2, $3, $4, $5, $6)

-- name: sandbox_seen
-- False: this incarnation is not the registered one, or was marked.
SELECT setpoint.sandbox_seen($1, $2, $3)

-- name: sandbox_gone
-- No new session goes there until it joins again.
SELECT setpoint.sandbox_gone($1, $2)

-- name: dead_hosts
-- Owners whose lease is over and whose sessions nobody has been told of.
SELECT host_id, incarnation FROM setpoint.dead_hosts()

-- name: sweep_keys
-- Idempotency keys that have ended.
SELECT setpoint.sweep_keys($1)

-- name: sweep_wakes
-- Due rows of sessions that somebody alive owns.
SELECT setpoint.sweep_wakes($1)

-- name: sweep_locks
-- Keys that nobody holds.
SELECT setpoint.sweep_locks($1)

-- name: sweep_tokens
-- Join tokens that have ended.
SELECT setpoint.sweep_tokens($1)

-- name: sweep_fenced
-- What was refused to ended epochs, long ago.
SELECT setpoint.sweep_fenced($1, $2)

-- name: sweep_cells
-- Cell hosts that are dead for good.
SELECT setpoint.sweep_cells($1, $2)

-- name: sweep_sandboxes
-- Sandbox hosts that are gone for good.
SELECT setpoint.sweep_sandboxes($1, $2)

-- name: host_dead
-- Marks an incarnation and makes its sessions due; -1 while its lease lives and nobody was refused.
SELECT setpoint.host_dead($1, $2, $3)
