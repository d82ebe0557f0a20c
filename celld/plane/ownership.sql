-- name: claim
-- Sessions that nobody alive owns and that have something to do; a claim postpones them for everybody else.
SELECT tenant_id, session_id, epoch_inc, epoch FROM setpoint.claim_wakes($1, $2, $3)

-- name: acquire
-- Take a claimed session, if it is still as it was claimed.
SELECT status, epoch_inc, epoch, head_seq FROM setpoint.acquire($1, $2, $3, $4, $5, $6)

-- name: release
-- Give a session up: for good, asleep, or to somebody else.
SELECT status, seq FROM setpoint.release($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: owned
-- What is recorded as this host's, and whether commands wait in it.
SELECT tenant_id, session_id, epoch_inc, epoch, head_seq, open FROM setpoint.owned($1, $2)

-- name: dead_hosts
-- Owners whose lease is over and whose sessions are not all due yet.
SELECT host_id, incarnation FROM setpoint.dead_hosts()

-- name: host_dead
-- Mark such an owner and make its sessions due.
SELECT setpoint.host_dead($1, $2, false)

-- name: sandboxes
-- Where runs can go, and where they are wanted.
SELECT host_id, incarnation, address, state, ordered, capacity, seen_age_s FROM setpoint.sandboxes()

-- name: told
-- What an operator wants of this host, and which others take sessions.
SELECT ordered, others FROM setpoint.host_told($1)
