-- name: page
-- The log after a seq, for restoring a cell.
SELECT seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id, data
FROM setpoint.log_page($1, $2, $3, $4)

-- name: session
-- The head row: where the session's sandbox is.
SELECT name, tenant_name, state, epoch_inc, epoch, head_seq, sandbox_host, ledger_id, workspace_no
FROM setpoint.session_row($1, $2)
