"""Sessions of one tenant in one process: they work, they fall together, and nobody pays for another's fault."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from celld.host.cells import Cell, Cells
from celld.host.processes import CellDied
from celld.host.zygote import Zygote
from celld.plane.key import SessionKey
from setpoint.contracts import cell as frames
from tests.integration.celld.harness import Celld, Session, World, until
from tests.integration.celld.test_poison import POISON, ends, lost, plant

FOUR = "4"


async def several(w: World, count: int, tenant: str | None = None) -> list[Session]:
    """Create sessions of one tenant."""
    tenant = tenant or str(uuid.uuid4())
    return [await w.create(tenant) for _ in range(count)]


async def works(w: World, session: Session) -> None:
    """Have a session do something."""
    assert (await w.ended(await w.enqueue(session, "halt", {}, lane=0)))[0] == "succeeded"
    assert await w.gapless(session)


async def restored(celld: Celld, *sessions: Session) -> None:
    for session in sessions:
        await celld.said("session restored", session=session.id)


async def test_sessions_of_one_tenant_share_a_process_up_to_the_number(w: World) -> None:
    sessions = await several(w, 5)
    celld = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, *sessions)
    for session in sessions:
        await works(w, session)
    assert list(celld.shared().values()) == [sessions[0].tenant] * 2
    assert celld.cells() == {}
    health = await celld.health()
    assert (health["sessions"], health["cells"]) == (5, 5)


async def test_two_tenants_never_share(w: World) -> None:
    sessions = await several(w, 2) + await several(w, 2)
    celld = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, *sessions)
    assert sorted(celld.shared().values()) == sorted({one.tenant for one in sessions})


async def test_the_default_is_a_process_for_each(w: World) -> None:
    sessions = await several(w, 2)
    celld = await w.celld()
    await restored(celld, *sessions)
    assert celld.cells().keys() == {one.id for one in sessions}
    assert celld.shared() == {}


async def test_sessions_whose_process_is_killed_go_on_each_alone(w: World) -> None:
    sessions = await several(w, 2)
    celld = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, *sessions)
    (pid,) = celld.shared()
    os.kill(pid, signal.SIGKILL)
    for session in sessions:
        await celld.said("session restored", nth=2, session=session.id)
        await works(w, session)
    assert celld.cells().keys() == {one.id for one in sessions}
    assert celld.shared() == {}


async def test_a_session_is_not_failed_by_processes_that_die_under_it(w: World) -> None:
    (session,) = await several(w, 1)
    celld = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, session)
    for _ in range(6):
        (poisoned,) = await several(w, 1, session.tenant)
        command = await w.enqueue(poisoned, "evaluate", POISON)
        assert (await w.ended(command))[0] == "quarantined"
    await works(w, session)
    assert len([line for line in celld.lines if line["event"] == "cell lost with others"]) <= 12
    assert "session.failed" not in await w.types(session)


async def test_poison_is_set_aside_and_its_neighbours_are_not_blamed(w: World) -> None:
    poisoned, *others = await several(w, 3)
    celld = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, poisoned, *others)
    poison = await w.enqueue(poisoned, "evaluate", POISON)
    beside = [await w.enqueue(one, "halt", {}, lane=0) for one in others]
    assert (await w.ended(poison))[0] == "quarantined"
    assert {(await w.ended(command))[0] for command in beside} == {"succeeded"}
    await works(w, poisoned)
    assert {line["session"] for line in lost(celld)} == {poisoned.id}
    assert len(lost(celld)) == 3, "the number of tries is bounded"
    for one in others:
        assert not {"session.failed", "input.quarantined", "command.quarantined"} & set(await w.types(one))
        assert set((await ends(w, one)).values()) == {1}


async def test_a_log_that_cannot_be_folded_fails_its_session_alone(w: World) -> None:
    poisoned, *others = await several(w, 3)
    celld = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, *others)
    await w.event(poisoned, "session.started")
    await plant(w, poisoned, "asset.ready", "{}")
    await celld.kill()
    second = await w.celld(SETPOINT_CELLS_PER_PROCESS=FOUR)
    await w.event(poisoned, "session.failed")
    for one in others:
        await works(w, one)
        assert "session.failed" not in await w.types(one)
    assert second.child.returncode is None


async def test_a_closed_session_leaves_and_its_process_ends_with_the_last_one(w: World) -> None:
    first, last = await several(w, 2)
    celld = await w.celld(SETPOINT_HIBERNATE_AFTER="1h", SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, first, last)
    (pid,) = celld.shared()
    assert (await w.ended(await w.enqueue(first, "close", {}, lane=0)))[0] == "succeeded"
    await celld.said("session released", session=first.id)
    await works(w, last)
    assert list(celld.shared()) == [pid]
    assert (await w.ended(await w.enqueue(last, "close", {}, lane=0)))[0] == "succeeded"

    async def gone() -> bool:
        return not celld.shared()

    await until(gone, "the process has ended")
    assert lost(celld) == []


async def test_a_session_sleeps_and_wakes_beside_one_that_is_awake(w: World) -> None:
    awake, sleeper = await several(w, 2)
    celld = await w.celld(SETPOINT_HIBERNATE_AFTER="1s", SETPOINT_CELLS_PER_PROCESS=FOUR)
    await restored(celld, awake, sleeper)
    for times in range(1, 4):

        async def sleeps(times: int = times) -> bool:
            await works(w, awake)
            said = [line for line in celld.lines if line["event"] == "session released"]
            return [line["session"] for line in said].count(sleeper.id) == times

        await until(sleeps, "one sleeps while the other is kept awake")
        await works(w, sleeper)
    assert len(celld.shared()) == 1
    assert lost(celld) == []


class Kept(Cells):
    """Cells that are closed in the end."""

    def __init__(self, zygote: Zygote, per_process: int) -> None:
        super().__init__(zygote, per_process)
        self.opened: list[Cell] = []

    async def open(self, key: SessionKey, *, alone: bool) -> Cell:
        self.opened.append(await super().open(key, alone=alone))
        return self.opened[-1]


@contextlib.asynccontextmanager
async def cells_of(per_process: int) -> AsyncIterator[Cells]:
    """Fork cells without a cell host around them."""
    zygote = Zygote.start()
    cells = Kept(zygote, per_process)
    try:
        yield cells
    finally:
        for cell in cells.opened:
            await cell.close()
        await zygote.stop()


async def opened(cells: Cells, key: SessionKey) -> Cell:
    cell = await cells.open(key, alone=False)
    assert await cell.restore([frames.Restore(key.session, (), last=True)]) == 0
    return cell


async def test_an_answer_to_a_life_that_is_over_reaches_no_later_one() -> None:
    first, other = (SessionKey("t", str(uuid.uuid4())) for _ in range(2))
    async with cells_of(4) as cells:
        cell, beside = await opened(cells, first), await opened(cells, other)
        assert cell.pid == beside.pid
        os.kill(cell.pid, signal.SIGSTOP)  # so that its answer is late
        deciding = asyncio.create_task(cell.decide(frames.Owned("host"), 1))
        await asyncio.sleep(0)
        deciding.cancel()
        await asyncio.wait({deciding})
        await cell.close()
        again = await opened(cells, first)
        assert again.pid != beside.pid, "it is not let in while an answer is owed"
        os.kill(beside.pid, signal.SIGCONT)
        assert (await again.decide(frames.Owned("host"), 2)).input_no == 1
        assert (await beside.decide(frames.Owned("host"), 2)).input_no == 1, "what was late did not disturb it"
        await again.close()
        back = await opened(cells, first)
        assert back.pid == beside.pid
        assert (await back.decide(frames.Owned("host"), 3)).input_no == 1


async def test_a_process_that_dies_is_everybodys_loss_and_nobody_is_let_in() -> None:
    keys = [SessionKey("t", str(uuid.uuid4())) for _ in range(3)]
    async with cells_of(4) as cells:
        first, second = await opened(cells, keys[0]), await opened(cells, keys[1])
        os.kill(first.pid, signal.SIGKILL)
        for cell in (first, second):
            with pytest.raises(CellDied) as died:
                await cell.decide(frames.Owned("host"), 1)
            assert (died.value.code, died.value.shared) == (-signal.SIGKILL, True)
            await cell.close()
        assert (await opened(cells, keys[2])).pid != first.pid


async def test_a_death_is_still_shared_when_the_neighbour_has_left() -> None:
    keys = [SessionKey("t", str(uuid.uuid4())) for _ in range(2)]
    async with cells_of(4) as cells:
        first, second = await opened(cells, keys[0]), await opened(cells, keys[1])
        await first.close()
        os.kill(second.pid, signal.SIGKILL)
        with pytest.raises(CellDied) as died:
            await second.decide(frames.Owned("host"), 1)
        assert died.value.shared, "it may have been the other's doing"


async def test_sessions_that_open_at_once_fill_processes_and_one_that_is_to_be_alone_is() -> None:
    keys = [SessionKey("t", str(uuid.uuid4())) for _ in range(8)]
    async with cells_of(4) as cells:
        many = await asyncio.gather(*(opened(cells, key) for key in keys))
        assert sorted(Counter(cell.pid for cell in many).values()) == [4, 4]
        await many[0].close()
        alone = await cells.open(keys[0], alone=True)
        assert alone.pid not in {cell.pid for cell in many}
        stranger = await cells.open(SessionKey("u", keys[0].session), alone=False)
        assert stranger.pid not in {alone.pid, *(cell.pid for cell in many)}
