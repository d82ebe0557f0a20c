-- The ledger of a sandbox host: SQLite, one file, one reader and writer (sandboxd/ledger.py). Not for Postgres.
-- Blocks as in every other .sql file here: a name, a line of why, one statement.

-- name: make_ledger
-- Who this ledger is: an id made once, which a fence's answer carries.
CREATE TABLE IF NOT EXISTS ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    ledger_id TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;

-- name: make_sessions
-- Floors: nothing of an older epoch starts. seq is the highest log position anything was started under; pruned_* is
-- the highest position among ended runs that were forgotten. uid is the account of the session's sandboxes.
CREATE TABLE IF NOT EXISTS sessions (
    session TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    cluster INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0,
    pruned_cluster INTEGER NOT NULL DEFAULT 0,
    pruned_seq INTEGER NOT NULL DEFAULT -1,
    uid INTEGER UNIQUE
) STRICT;

-- name: make_workspaces
-- Directories by (session, workspace_no); place is their neutral name, manifest what was last materialized there.
CREATE TABLE IF NOT EXISTS workspaces (
    session TEXT NOT NULL REFERENCES sessions,
    workspace_no INTEGER NOT NULL,
    place TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 0,
    manifest BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (session, workspace_no)
) STRICT;

-- name: make_runs
-- Every run this host was asked to start, written before its first command runs. pid and pid_start name the process
-- of the step that is being carried out.
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions,
    cluster INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'interrupted')),
    outcome TEXT,
    enforced BLOB,
    spec BLOB NOT NULL,
    deadline_s REAL NOT NULL,
    boot_id TEXT NOT NULL,
    pid INTEGER,
    pid_start INTEGER,
    started_us INTEGER NOT NULL,
    ended_us INTEGER
) STRICT;

-- name: make_runs_by_session
-- A fence lists the runs of a session; pruning walks its ended ones by age.
CREATE INDEX IF NOT EXISTS runs_by_session ON runs (session, ended_us);

-- name: make_results
-- One row per step that has ended, so that results survive this process and are told again.
CREATE TABLE IF NOT EXISTS results (
    run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    step INTEGER NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (run_id, step)
) STRICT;

-- name: identify
-- Keep the id of the first start for ever.
INSERT INTO ledger (one, ledger_id, version) VALUES (1, :ledger_id, :version) ON CONFLICT DO NOTHING;

-- name: identity
-- Which ledger this is, and which layout it has.
SELECT ledger_id, version FROM ledger;

-- name: session
-- What is known of a session.
SELECT tenant, cluster, epoch, seq, pruned_cluster, pruned_seq, uid FROM sessions WHERE session = :session;

-- name: add_session
-- First word of a session.
INSERT INTO sessions (session, tenant, cluster, epoch) VALUES (:session, :tenant, :cluster, :epoch);

-- name: raise_floor
-- A floor only rises; the caller has compared.
UPDATE sessions SET cluster = :cluster, epoch = :epoch WHERE session = :session;

-- name: raise_seq
-- The witness of how far the session's log had come.
UPDATE sessions SET seq = max(seq, :seq) WHERE session = :session;

-- name: set_uid
-- Give a session its account.
UPDATE sessions SET uid = :uid WHERE session = :session;

-- name: uid_max
-- The highest account given away in a range.
SELECT max(uid) FROM sessions WHERE uid BETWEEN :first AND :last;

-- name: workspace
-- One directory.
SELECT place, generation, manifest FROM workspaces WHERE session = :session AND workspace_no = :workspace_no;

-- name: add_workspace
-- A directory exists from now on.
INSERT INTO workspaces (session, workspace_no, place) VALUES (:session, :workspace_no, :place);

-- name: note_manifest
-- What the directory holds of the project now.
UPDATE workspaces SET generation = :generation, manifest = :manifest
WHERE session = :session AND workspace_no = :workspace_no;

-- name: run
-- One run.
SELECT run_id, session, cluster, epoch, seq, state, outcome, enforced, spec, deadline_s, boot_id, pid, pid_start
FROM runs WHERE run_id = :run_id;

-- name: running
-- What a predecessor left unfinished.
SELECT run_id, session, cluster, epoch, seq, state, outcome, enforced, spec, deadline_s, boot_id, pid, pid_start
FROM runs WHERE state = 'running';

-- name: states
-- The answer of a fence.
SELECT run_id, state FROM runs WHERE session = :session;

-- name: add_run
-- Durable before anything of it runs.
INSERT INTO runs (run_id, session, cluster, epoch, seq, state, spec, deadline_s, boot_id, started_us)
VALUES (:run_id, :session, :cluster, :epoch, :seq, 'running', :spec, :deadline_s, :boot_id, :started_us);

-- name: adopt
-- A new owner takes a run over.
UPDATE runs SET cluster = :cluster, epoch = :epoch WHERE run_id = :run_id;

-- name: note_process
-- Which process carries out the run's step, known before its command runs.
UPDATE runs SET pid = :pid, pid_start = :pid_start WHERE run_id = :run_id;

-- name: add_result
-- The end of a step, once.
INSERT INTO results (run_id, step, result) VALUES (:run_id, :step, :result) ON CONFLICT DO NOTHING;

-- name: results
-- What steps came to, in their order.
SELECT result FROM results WHERE run_id = :run_id ORDER BY step;

-- name: end_run
-- The end of a run, once.
UPDATE runs SET state = :state, outcome = :outcome, enforced = :enforced, ended_us = :ended_us, pid = NULL, pid_start = NULL
WHERE run_id = :run_id AND state = 'running';

-- name: old_runs
-- Ended runs that may be forgotten: too old, or more than a session keeps. Bounded, the rest comes next time.
SELECT run_id, session, cluster, seq FROM (
    SELECT run_id, session, cluster, seq, ended_us,
           row_number() OVER (PARTITION BY session ORDER BY ended_us DESC) AS age
    FROM runs WHERE ended_us IS NOT NULL
) WHERE ended_us < :before_us OR age > :keep LIMIT 1000;

-- name: forget_run
-- Drop one ended run with its results.
DELETE FROM runs WHERE run_id = :run_id;

-- name: remember_pruned
-- An id that was forgotten must never look like one that was never seen.
UPDATE sessions SET pruned_cluster = :cluster, pruned_seq = :seq
WHERE session = :session AND (pruned_cluster, pruned_seq) < (:cluster, :seq);
