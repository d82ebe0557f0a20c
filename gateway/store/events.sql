-- name: page
-- A page of the log, bounded in rows and in bytes, and where the log ends. The function reads with the tenant's eyes by
-- itself: one turn to the database instead of four, because a reader waits for it.
SELECT head_seq, state, seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id, data
FROM setpoint.tenant_log($1, $2, $3, $4, $5)

-- name: heads
-- Of all sessions that clients of this process follow, at most once a second.
SELECT tenant_id, session_id, head_seq, state FROM setpoint.heads($1::text[]::uuid[], $2::text[]::uuid[])

-- name: started
-- Executions by the event that started them, newest first. A verification inside a sync has the sync's execution id:
-- the last thing that started for its asset before it. It is a part of that sync, not an execution beside it.
SELECT e.seq, e.execution_id FROM setpoint.events e
WHERE e.tenant_id = $1 AND e.session_id = $2 AND e.seq < $3
  AND e.type IN ('sync.started', 'evaluation.started', 'tool.started')
  AND e.execution_id IS NOT NULL
  AND NOT (e.type = 'evaluation.started' AND e.data ->> 'why' = 'verification' AND e.execution_id IS NOT DISTINCT FROM (
      SELECT p.execution_id FROM setpoint.events p
      WHERE p.tenant_id = $1 AND p.session_id = $2 AND p.seq < e.seq AND p.asset = e.asset
        AND p.type IN ('sync.started', 'evaluation.started') ORDER BY p.seq DESC LIMIT 1))
ORDER BY e.seq DESC LIMIT $4

-- name: sizes
-- How much the log says of some executions, as bytes of text, from the start of the oldest of them on.
SELECT execution_id, sum(octet_length(data::text))::bigint AS bytes FROM setpoint.events
WHERE tenant_id = $1 AND session_id = $2 AND seq >= $3 AND execution_id = ANY ($4::text[]::uuid[]) GROUP BY execution_id

-- name: of_executions
-- Everything that the log says of some executions, from the start of the oldest of them on.
SELECT seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id, data FROM setpoint.events
WHERE tenant_id = $1 AND session_id = $2 AND seq >= $3 AND execution_id = ANY ($4::text[]::uuid[]) ORDER BY seq LIMIT $5

-- name: started_of_asset
-- The same of one asset; a query of its own, because an optional condition finds no index.
SELECT e.seq, e.execution_id FROM setpoint.events e
WHERE e.tenant_id = $1 AND e.session_id = $2 AND e.seq < $3 AND e.asset = $5
  AND e.type IN ('sync.started', 'evaluation.started', 'tool.started')
  AND e.execution_id IS NOT NULL
  AND NOT (e.type = 'evaluation.started' AND e.data ->> 'why' = 'verification' AND e.execution_id IS NOT DISTINCT FROM (
      SELECT p.execution_id FROM setpoint.events p
      WHERE p.tenant_id = $1 AND p.session_id = $2 AND p.seq < e.seq AND p.asset = e.asset
        AND p.type IN ('sync.started', 'evaluation.started') ORDER BY p.seq DESC LIMIT 1))
ORDER BY e.seq DESC LIMIT $4

-- name: of_asset_started
-- Where the newest executions of an asset started, the verification inside a sync left out as above.
SELECT e.seq FROM setpoint.events e
WHERE e.tenant_id = $1 AND e.session_id = $2 AND e.seq < $3 AND e.asset = $4
  AND (e.type = 'sync.started' OR (e.type = 'evaluation.started' AND NOT $5::boolean
      AND NOT (e.data ->> 'why' = 'verification' AND e.execution_id IS NOT DISTINCT FROM (
          SELECT p.execution_id FROM setpoint.events p
          WHERE p.tenant_id = $1 AND p.session_id = $2 AND p.seq < e.seq AND p.asset = e.asset
            AND p.type IN ('sync.started', 'evaluation.started') ORDER BY p.seq DESC LIMIT 1))))
ORDER BY e.seq DESC LIMIT $6

-- name: of_asset
-- What the log says of an asset's executions in a range of seqs.
SELECT seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id, data FROM setpoint.events
WHERE tenant_id = $1 AND session_id = $2 AND seq >= $3 AND seq < $4 AND asset = $5
  AND (type LIKE 'sync.%' OR type IN ('evaluation.started', 'evaluation.completed', 'evaluation.failed'))
ORDER BY seq LIMIT $6

-- name: verdict_before
-- The last verdict on an asset before a seq.
SELECT seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id, data FROM setpoint.events
WHERE tenant_id = $1 AND session_id = $2 AND seq < $3 AND asset = $4 AND type = 'evaluation.completed'
ORDER BY seq DESC LIMIT 1
