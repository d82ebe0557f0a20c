-- What is asked of a session's log by something else than its seq, without reading the whole of it.
-- Partial, so that an append pays for an event only where somebody will look for it. Measured with 100,000 events:
-- an execution 100 ms before and 0.5 ms after, an asset's history 82 and 1.1, the first answer to a repeated key 85 and
-- 0.1. What an append pays for them: docs/internals/database.md.

-- An execution by its id, and the sizes of several.
CREATE INDEX events_execution ON events (tenant_id, session_id, execution_id, seq) WHERE execution_id IS NOT NULL;

-- The executions of an asset, newest first, and the last verdict before one.
CREATE INDEX events_asset ON events (tenant_id, session_id, asset, seq)
    WHERE type IN ('sync.started', 'evaluation.started', 'tool.started', 'evaluation.completed');

-- The place that a command had in the inbox, for whoever repeats its key.
CREATE INDEX events_command ON events (tenant_id, session_id, command_id) WHERE type = 'command.accepted';
