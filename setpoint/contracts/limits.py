"""Every bound in the system, in one place; their relations are asserted below (architecture.md section 9).

A queue, a frame, a wait, a retry without a constant from here is a defect.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

# Edge
REQUEST_BYTES_MAX: Final = 1 * MIB
BLOB_BYTES_MAX: Final = 64 * MIB
HEADER_BYTES_MAX: Final = 16 * KIB
JSON_DEPTH_MAX: Final = 32
JSON_VALUES_MAX: Final = 64 * KIB  # a manifest of PROJECT_FILES_MAX files has an eighth of it
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
PAGE_ITEMS_MAX: Final = 500
PAGE_ITEMS_DEFAULT: Final = 100
SSE_BUFFER_BYTES_MAX: Final = 256 * KIB  # of a client: what waits for it, here and in the kernel
SSE_PAGE_BYTES_MAX: Final = 32 * KIB
SSE_SOCKET_BYTES: Final = 64 * KIB  # the kernel takes twice that
SSE_PAGES_KEPT_BYTES_MAX: Final = 2 * MIB
SSE_SESSIONS_MAX: Final = 100  # on one stream
SSE_SESSIONS_PER_SHARE: Final = 10  # a stream of more counts as several
SSE_HEARTBEAT_S: Final = 15.0
SSE_WRITE_S_MAX: Final = 20.0
SSE_CLIENTS_MAX: Final = 2000
SSE_CLIENTS_PER_TENANT_MAX: Final = 500
HTTP_IDLE_S_MAX: Final = 60.0
OPEN_FILES_MAX: Final = 65536  # of a daemon; sandboxes have their own limit
COSTLY_PER_TENANT_MAX: Final = 2  # compiles, and large blobs on their way, at a time

# Projects
MANIFEST_FILE_BYTES_MAX: Final = 256 * KIB
YAML_DEPTH_MAX: Final = 32
YAML_NODES_MAX: Final = 10_000
YAML_ALIASES_MAX: Final = 64
PROJECT_BYTES_MAX: Final = 64 * MIB
PROJECT_FILES_MAX: Final = 2000
PROJECT_PATH_BYTES_MAX: Final = 512
ASSETS_MAX: Final = 10_000
FAULTS_MAX: Final = 200
VARIABLES_MAX: Final = 100  # given with a project
VARIABLE_BYTES_MAX: Final = 8 * KIB  # of a value
QUERY_BYTES_MAX: Final = 64 * KIB  # of a SQL condition
ARGUMENT_BYTES_MAX: Final = 128 * KIB - 1  # Linux: MAX_ARG_STRLEN, less its NUL
COMPILED_ASSET_BYTES_MAX: Final = 1 * MIB
COMPILED_BYTES_MAX: Final = 32 * MIB
COMPILE_INPUT_BYTES_MAX: Final = 16 * MIB
DBT_MANIFESTS_BYTES_MAX: Final = 32 * MIB  # of a project, beside that: about 3,000 models with their compiled SQL
COMPILE_MEMORY_BYTES_MAX: Final = 1024 * MIB
COMPILE_S_MAX: Final = 5.0
COMPILE_QUEUE_MAX: Final = 32

# Log and inbox
EVENT_BYTES_MAX: Final = 32 * KIB
EVENTS_PER_DECISION_MAX: Final = 2000
COMMAND_PAYLOAD_BYTES_MAX: Final = 24 * KIB
LANE_CONTROL: Final = 0
LANE_WORK: Final = 1
UNENDED_MAX: Final = {LANE_CONTROL: 20, LANE_WORK: 100}
IDEMPOTENCY_TTL_S: Final = 24 * 3600
BATCH_SESSIONS_MAX: Final = 64
BATCH_BYTES_MAX: Final = 4 * MIB
RESTORE_EVENTS_PER_FRAME: Final = 500
INBOX_READ_MAX: Final = 50
SNAPSHOT_TAIL_EVENTS_MAX: Final = 200  # or a tenth of the assets, if that is more; then a snapshot is written
SNAPSHOT_RELEASE_EVENTS_MIN: Final = 32  # a shorter tail is folded faster than a snapshot is written
SNAPSHOT_BYTES_MAX: Final = 32 * MIB
HIBERNATE_AFTER_S: Final = 30.0  # without an input, and only if the next timer is as far away again
HIBERNATE_AFTER_S_MIN: Final = 0.05
CELLS_PER_PROCESS: Final = 1
CELLS_PER_PROCESS_MAX: Final = 64
WAKE_AHEAD_S_MAX: Final = 366 * 24 * 3600.0

# Frames between processes
LINK_FRAME_BYTES_MAX: Final = 4 * MIB
LINK_PENDING_MAX: Final = 1024
CELL_FRAME_BYTES_MAX: Final = 64 * MIB
SESSION_INPUTS_MAX: Final = 4096

# Ownership (architecture.md section 5)
LEASE_TTL_S: Final = 10.0
LEASE_TTL_S_MIN: Final = 2.0
LEASE_TTL_S_MAX: Final = 60.0
LEASE_RENEW_S: Final = 2.0
LEASE_START_FRACTION: Final = 2 / 3
WAKE_CLAIM_HOLD_S: Final = 5.0
WAKE_CLAIM_MAX: Final = 100
POLL_S: Final = 1.0
CELL_START_S_MAX: Final = 10.0
FORKS_OUTSTANDING_MAX: Final = 32
ORPHAN_TIMEOUT_S: Final = 600.0
HOST_TOKEN_S: Final = 7 * 24 * 3600
HOST_TOKEN_RENEW_S: Final = 24 * 3600
GRANT_S: Final = 600
PROOF_S: Final = 60
CLOCK_LEEWAY_S: Final = 30
TOKEN_BYTES_MAX: Final = 4 * KIB

# Sandboxes
OUTPUT_BYTES_MAX: Final = 8 * MIB
OUTPUT_TAIL_BYTES: Final = 4 * KIB
OUTPUT_READ_BYTES_MAX: Final = 256 * KIB
RUN_STEPS_MAX: Final = 200
STEP_TIMEOUT_S_MAX: Final = 24 * 3600.0
RUNS_PER_HOST_MAX: Final = 64
KILL_GRACE_S: Final = 5.0
LEDGER_KEEP_S: Final = 24 * 3600.0
LEDGER_RUNS_PER_SESSION_MAX: Final = 1000  # ended runs; running ones are always kept
SANDBOX_TMP_BYTES_MAX: Final = 256 * MIB
SANDBOX_OPEN_FILES_MAX: Final = 4096
SANDBOX_FILE_BYTES_MAX: Final = 16 * 1024 * MIB
SANDBOX_PROCESSES_MAX: Final = 1024

assert LEASE_RENEW_S * 3 < LEASE_TTL_S, "a lease must survive two lost renewals"
assert PROOF_S < GRANT_S < HOST_TOKEN_S, "what is narrower lives shorter"
assert COMMAND_PAYLOAD_BYTES_MAX < EVENT_BYTES_MAX, "a command fits the event that accepts it"
assert EVENT_BYTES_MAX + SSE_PAGE_BYTES_MAX + 2 * SSE_SOCKET_BYTES <= SSE_BUFFER_BYTES_MAX, "what a client may hold up"
assert EVENT_BYTES_MAX * BATCH_SESSIONS_MAX <= BATCH_BYTES_MAX, "one large event of every session fits a batch"
assert OUTPUT_TAIL_BYTES * 2 < EVENT_BYTES_MAX, "both tails of a step fit its event"
assert OUTPUT_READ_BYTES_MAX < LINK_FRAME_BYTES_MAX
assert (LEDGER_RUNS_PER_SESSION_MAX + RUNS_PER_HOST_MAX) * 64 < LINK_FRAME_BYTES_MAX, "the answer of a fence fits"
assert MANIFEST_FILE_BYTES_MAX < REQUEST_BYTES_MAX <= BLOB_BYTES_MAX
assert VARIABLES_MAX * (VARIABLE_BYTES_MAX + 256) < REQUEST_BYTES_MAX, "the variables fit the request that gives them"
assert COMPILE_QUEUE_MAX * (COMPILE_INPUT_BYTES_MAX + DBT_MANIFESTS_BYTES_MAX) <= 1536 * MIB, "what waits fits in it"
assert QUERY_BYTES_MAX < ARGUMENT_BYTES_MAX, "a query is never what makes a step too large"
assert ARGUMENT_BYTES_MAX < COMPILED_ASSET_BYTES_MAX < LINK_FRAME_BYTES_MAX, "the steps of a run fit its frame"
assert min(CELL_FRAME_BYTES_MAX, BLOB_BYTES_MAX) > COMPILED_BYTES_MAX, "a compiled set is a blob and crosses the pipe"
assert SNAPSHOT_RELEASE_EVENTS_MIN < SNAPSHOT_TAIL_EVENTS_MAX <= RESTORE_EVENTS_PER_FRAME
assert SNAPSHOT_BYTES_MAX < CELL_FRAME_BYTES_MAX, "a snapshot crosses the pipe"
assert LEASE_TTL_S < ORPHAN_TIMEOUT_S, "an orphan outlives the lease, so that it can be adopted"
