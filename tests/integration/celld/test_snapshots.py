"""Snapshots of a session on a cell host: written as the log grows, begun from, done without when they are bad."""

from __future__ import annotations

import os
import signal

import pytest

from migrations.door import Pool, open_pool
from setpoint.contracts import limits
from tests.integration.celld.harness import Celld, Session, World, until

TOGETHER = 16  # so many commands may be one decision, and a snapshot is of where a decision ends
COMMANDS = limits.SNAPSHOT_TAIL_EVENTS_MAX // 3 + 2 + TOGETHER  # each is accepted, does something, and succeeds


async def talk(w: World, session: Session, commands: int) -> None:
    """Lengthen a log, command by command."""
    for n in range(commands):
        command = await w.enqueue(session, "halt" if n % 2 == 0 else "unhalt", {}, lane=1)
        if n % 20 == 19 or n == commands - 1:
            await w.ended(command)


async def kept(w: World, session: Session) -> list[int]:
    """Return the seqs of the snapshots that there are, newest first."""
    rows = await w.celld_pool.fetch("SELECT seq FROM setpoint.snapshot_read($1, $2)", session.tenant, session.id)
    return [row["seq"] for row in rows]


async def begun_anew(celld: Celld, session: Session, nth: int) -> int:
    """Kill the cell of a session and return the snapshot that the next one began from."""
    os.kill(celld.cells()[session.id], signal.SIGKILL)
    return int((await celld.said("session restored", nth=nth, session=session.id))["snapshot"])


async def test_a_cell_begins_from_the_newest_snapshot_and_a_damaged_one_falls_back_to_the_log(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    assert (await celld.said("session restored", session=session.id))["snapshot"] == 0
    await talk(w, session, 2 * COMMANDS)

    async def two() -> bool:
        return len(await kept(w, session)) == 2

    await until(two, "two snapshots were written")
    newest, older = await kept(w, session)
    assert await begun_anew(celld, session, 2) == newest
    await talk(w, session, 2)
    owner = await open_pool(w.database.dsn("setpoint_migrate"), size=1)
    try:
        await damage(owner, session, newest)
        assert await begun_anew(celld, session, 3) == older, "the one before it is whole"

        async def newer() -> bool:
            return (await kept(w, session))[0] > newest

        await until(newer, "the long tail was spared the next cell at once")
        await damage(owner, session, (await kept(w, session))[0])
        assert await begun_anew(celld, session, 4) == 0, "both are damaged, the log alone is enough"
    finally:
        await owner.close()
    await celld.said("snapshot damaged: the log is folded instead", session=session.id, seq=newest)
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert "session.failed" not in await w.types(session)
    assert await w.gapless(session)


async def test_a_snapshot_that_another_version_wrote_is_not_read(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    head = await w.head(session)
    status = await w.celld_pool.fetchval(
        "SELECT setpoint.snapshot_write($1, $2, $3, $4, $5, $6, $7)",
        *(session.tenant, session.id, head["epoch_inc"], head["epoch"], head["head_seq"], "another", b"bytes"),
    )
    assert status == "ok"
    assert await begun_anew(celld, session, 2) == 0


@pytest.mark.parametrize(("commands", "snapshots"), [(2, 0), (limits.SNAPSHOT_RELEASE_EVENTS_MIN // 3 + 1, 1)])
async def test_a_host_that_gives_a_session_away_spares_the_next_one_a_long_tail(
    w: World, commands: int, snapshots: int
) -> None:
    first = await w.celld()
    session = await w.create()
    await talk(w, session, commands)
    await first.kill(signal.SIGTERM)
    released = await w.event(session, "lease.released")
    second = await w.celld("cell-b")
    began = (await second.said("session restored", session=session.id))["snapshot"]
    assert began == (released["seq"] - 1 if snapshots else 0)
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert await w.gapless(session)


async def damage(owner: Pool, session: Session, seq: int) -> None:
    """Change one byte of a stored snapshot."""
    where = "WHERE tenant_id = $1 AND session_id = $2 AND seq = $3"
    await owner.execute(
        f"UPDATE setpoint.session_snapshots SET state = set_byte(state, 40, get_byte(state, 40) # 1) {where}",
        *(session.tenant, session.id, seq),
    )
