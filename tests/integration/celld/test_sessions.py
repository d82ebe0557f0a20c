"""A session on a cell host: acquired, restored into a cell, fed from its inbox, closed, given away."""

from __future__ import annotations

import json
import os
import signal
import time

from tests.integration.celld.harness import Celld, World, titles, until


async def test_a_new_session_is_acquired_and_its_commands_are_answered(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    command = await w.enqueue(session, "halt", {"reason": "test"}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    bad = await w.enqueue(session, "sync", {"select": ["nothing"]})
    status, result = await w.ended(bad)
    assert (status, result["code"]) == ("rejected", "invalid-transition")
    head = await w.head(session)
    assert (head["owner_host"], head["inbox_open0"], head["inbox_open1"]) == (celld.host, 0, 0)
    assert (head["unended0"], head["unended1"]) == (0, 0)
    assert await w.gapless(session)
    rows = {row["type"]: json.loads(row["data"]) for row in await w.events(session)}
    assert rows["lease.acquired"]["host"] == celld.host
    assert celld.cells().keys() == {session.id}
    assert (await celld.health())["cells"] == 1


async def test_a_command_that_nobody_announced_is_found_by_the_poll(w: World) -> None:
    await w.celld()  # no gateway, so no poke ever
    session = await w.create()
    await w.event(session, "session.started")
    for n in range(3):
        command = await w.enqueue(session, "halt" if n % 2 == 0 else "unhalt", {}, lane=0)
        before = time.monotonic()
        await w.ended(command)
        assert time.monotonic() - before < 2.5, "one poll a second finds it"
    assert await w.gapless(session)


async def test_a_killed_cell_comes_back_under_the_same_epoch(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    await w.enqueue(session, "halt", {}, lane=0)
    started = await w.event(session, "halt.started")
    cell = celld.cells()[session.id]
    os.kill(cell, signal.SIGKILL)
    again = await w.event(session, "session.started", nth=2)
    assert again["epoch"] == started["epoch"]
    assert json.loads(again["data"])["restarted"] is True
    assert celld.cells()[session.id] != cell
    command = await w.enqueue(session, "unhalt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert "halt.ended" in await w.types(session), "the new cell folded the halt from the log"
    assert (await w.types(session)).count("lease.acquired") == 1
    assert await w.gapless(session)


async def test_a_session_whose_cells_keep_dying_has_failed_and_is_left_alone(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    for n in range(1, 6):
        await w.event(session, "session.started", nth=n)
        await celld.said("cell lost", nth=n - 1) if n > 1 else None
        os.kill(await until(lambda: _cell(celld, session.id), "it has a cell"), signal.SIGKILL)
    await w.event(session, "session.failed")
    await celld.said("session failed", session=session.id)
    assert session.id not in celld.cells()
    assert await w.gapless(session)
    await celld.kill()
    other = await w.celld("cell-b")
    await other.said("session rests", session=session.id)
    assert (await w.types(session)).count("session.failed") == 1
    assert (await w.types(session)).count("session.started") == 5


async def test_a_command_that_kills_three_cells_is_set_aside_and_the_next_is_answered(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    poison = await w.enqueue(session, "evaluate", {"select": 10**30})
    status, result = await w.ended(poison)
    assert status == "quarantined" and "three cells" in result["message"]
    assert len([line for line in celld.lines if line["event"] == "cell lost"]) == 3
    infinite = await w.enqueue_text(session, "tool", '{"name": "echo", "args": {"text": "x", "n": 1e5000}}')
    assert (await w.ended(infinite))[0] == "rejected"
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    head = await w.head(session)
    assert (head["inbox_open0"], head["inbox_open1"], head["unended0"], head["unended1"]) == (0, 0, 0, 0)
    assert await w.gapless(session)


async def test_close_ends_the_session_for_good(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    command = await w.enqueue(session, "close", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    await w.event(session, "session.closed")
    await celld.said("session released", session=session.id, mode="close")
    head = await w.head(session)
    assert (head["state"], head["owner_host"]) == ("closed", None)

    async def gone() -> bool:
        return session.id not in celld.cells()

    await until(gone, "its cell is gone")
    assert await w.gapless(session)


async def test_commands_that_race_with_a_close_are_answered_before_it(w: World) -> None:
    await w.celld()
    session = await w.create()
    first = await w.enqueue(session, "close", {}, lane=0)
    late = [await w.enqueue(session, "evaluate", {}) for _ in range(3)]
    assert (await w.ended(first))[0] == "succeeded"
    assert {(await w.ended(command))[0] for command in late} == {"rejected"}
    await w.event(session, "session.closed")
    assert await w.gapless(session)


async def test_sigterm_gives_every_session_to_another_host_at_once(w: World) -> None:
    first = await w.celld()
    sessions = [await w.create() for _ in range(5)]
    for session in sessions:
        await w.event(session, "session.started")
    second = await w.celld("cell-b")
    before = time.monotonic()
    assert await first.kill(signal.SIGTERM) == 0
    for session in sessions:
        released = await w.event(session, "lease.released")
        assert json.loads(released["data"])["mode"] == "drain"
        await w.event(session, "session.started", nth=2)
        assert (await w.head(session))["owner_host"] == second.host
        assert await w.gapless(session)
    assert time.monotonic() - before < 8.0, "the lease was not waited for"
    assert first.cells() == {}


async def test_a_host_killed_with_sigkill_is_replaced_after_its_lease_without_a_gap(w: World) -> None:
    first = await w.celld(SETPOINT_LEASE_TTL="2s")
    sessions = [await w.create() for _ in range(4)]
    for session in sessions:
        await w.event(session, "session.started")
    second = await w.celld("cell-b", SETPOINT_LEASE_TTL="2s")
    await first.kill()
    commands = [await w.enqueue(session, "halt", {}, lane=0) for session in sessions]
    assert [(await w.ended(command))[0] for command in commands] == ["succeeded"] * 4
    for session in sessions:
        assert (await w.head(session))["owner_host"] == second.host
        assert (await w.types(session)).count("lease.acquired") == 2
        assert await w.gapless(session)

    async def orphans() -> bool:
        return first.cells() == {} and len(second.cells()) == 4

    await until(orphans, "no cell outlives its host")


async def test_a_frozen_host_that_was_replaced_stops_and_says_so(w: World) -> None:
    first = await w.celld(SETPOINT_LEASE_TTL="2s")
    session = await w.create()
    await w.event(session, "session.started")
    await w.celld("cell-b", SETPOINT_LEASE_TTL="2s")
    first.child.send_signal(signal.SIGSTOP)
    taken = await w.event(session, "lease.acquired", nth=2)
    first.child.send_signal(signal.SIGCONT)
    assert await first.end() == 1
    await first.said("lease lost: all sessions are stopped")
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    epochs = [row["epoch"] for row in await w.events(session) if row["seq"] >= taken["seq"]]
    assert set(epochs) == {taken["epoch"]}, "nothing of the old owner came after"
    assert await w.gapless(session)


async def test_a_host_that_comes_back_takes_its_own_sessions_again_at_once(w: World) -> None:
    first = await w.celld(SETPOINT_LEASE_TTL="60s")
    session = await w.create()
    await w.event(session, "session.started")
    await first.kill()
    before = time.monotonic()
    await w.celld(SETPOINT_LEASE_TTL="60s")
    await w.event(session, "session.started", nth=2)
    assert time.monotonic() - before < 20.0, "a new incarnation need not wait for the lease of the old one"
    assert await w.gapless(session)


async def test_without_its_zygote_a_host_ends(w: World) -> None:
    celld = await w.celld()
    session = await w.create()
    await w.event(session, "session.started")
    zygote = next(pid for pid, (parent, title) in titles().items() if parent == celld.pid and "zygote" in title)
    os.kill(zygote, signal.SIGKILL)
    assert await celld.end() == 1


async def _cell(celld: Celld, session: str) -> int | None:
    return celld.cells().get(session)
