"""A host that lost a session while it was frozen in the middle of a write: refused, counted, nothing of it there."""

from __future__ import annotations

import signal
from pathlib import Path

from migrations.door import Row
from tests.integration.celld.harness import World, until


async def test_a_write_that_froze_before_its_commit_is_refused_and_counted(w: World) -> None:
    # A long lease: the frozen host must meet the epoch before it hears from its lease that it was marked.
    first = await w.celld(SETPOINT_FAILPOINTS="celld.commit.before=stop@2", SETPOINT_LEASE_TTL="60s")
    session = await w.create()

    async def stopped() -> bool:
        return Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    await w.event(session, "session.started")
    await w.enqueue(session, "halt", {}, lane=0)
    second = await w.celld("cell-b", SETPOINT_LEASE_TTL="60s")
    await until(stopped, "it froze before its second commit")
    incarnation = (await w.head(session))["owner_incarnation"]
    await w.celld_pool.fetchval("SELECT setpoint.host_dead($1, $2, true)", first.host, incarnation)
    taken = await w.event(session, "lease.acquired", nth=2)
    await w.event(session, "halt.started")
    first.child.send_signal(signal.SIGCONT)

    async def refused() -> Row | None:
        return await w.all_seeing.fetchrow("SELECT * FROM setpoint.fenced_writes WHERE session_id = $1", session.id)

    row = await until(refused, "the write is refused")
    assert (row["kind"], row["epoch"], row["against_epoch"], row["refused"]) == ("append", 1, 2, 1)
    assert (await w.types(session)).count("halt.started") == 1
    assert {event["epoch"] for event in await w.events(session) if event["seq"] >= taken["seq"]} == {2}
    assert (await w.head(session))["owner_host"] == second.host
    assert await w.gapless(session)
