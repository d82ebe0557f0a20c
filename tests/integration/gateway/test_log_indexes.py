"""What is asked of a long log by something else than a seq goes by an index, under the eyes of a tenant."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from migrations import named
from migrations.door import tenant_transaction
from tests.integration.gateway.served import Served
from tests.integration.protocol.world import World, new_id

STORES = Path(__file__).resolve().parents[3] / "gateway" / "store"
EVENTS, INBOX = named.read(STORES / "events.sql"), named.read(STORES / "inbox.sql")
SEQ_MAX = 2**63 - 1

FILL = """
INSERT INTO setpoint.events
    (tenant_id, session_id, seq, at, epoch_inc, epoch, type, asset, execution_id, command_id, data)
SELECT $1, $2, n, now(), 1, 1,
    (ARRAY['evaluation.started', 'evaluation.step_finished', 'evaluation.completed', 'sync.started',
           'command.accepted'])[1 + n % 5],
    CASE WHEN n % 5 < 4 THEN 'a' || (n / 5 % 200) END, CASE WHEN n % 5 < 4 THEN md5('e' || n / 5)::uuid END,
    CASE WHEN n % 5 = 4 THEN md5('c' || n / 5)::uuid END, jsonb_build_object('inbox_seq', n)
FROM generate_series(1, 20000) n
"""


@pytest.mark.parametrize("name", ["of_executions", "sizes", "started_of_asset", "of_asset_started", "first_answer"])
async def test_a_long_log_is_not_read_from_end_to_end(served: Served, w: World, name: str) -> None:
    tenant, session, command = new_id(), new_id(), new_id()
    await w.all_seeing.execute(FILL, tenant, session)
    await w.all_seeing.execute("ANALYZE setpoint.events")
    execution = [str(uuid.uuid4())]
    sql, args, index = {
        "of_executions": (EVENTS["of_executions"], (tenant, session, 0, execution, 1000), "execution_id_seq"),
        "sizes": (EVENTS["sizes"], (tenant, session, 0, execution), "execution_id_seq"),
        "started_of_asset": (EVENTS["started_of_asset"], (tenant, session, SEQ_MAX, 10, "a7"), "asset_seq"),
        "of_asset_started": (EVENTS["of_asset_started"], (tenant, session, SEQ_MAX, "a7", False, 10), "asset_seq"),
        "first_answer": (INBOX["first_answer"], (tenant, command), "command_id_idx"),
    }[name]
    async with tenant_transaction(w.gateway, tenant) as reader:
        plan = "\n".join(row[0] for row in await reader.fetch("EXPLAIN " + sql, *args))
    assert f"session_id_{index}" in plan, plan
    assert re.search(r"Seq Scan on events\S* \S*\s*\(cost=[^)]*rows=\d{3}", plan) is None, plan
