"""A session with nothing to do has no process; what brings it back, and what keeps it awake."""

from __future__ import annotations

import os
import signal

from tests.integration.celld.harness import Celld, Session, World, until

SOON = "300ms"


async def asleep(w: World, celld: Celld, session: Session, nth: int = 1) -> None:
    """Wait until a session sleeps: so says its log, nobody owns it, and no process is its."""
    await w.event(session, "session.hibernated", nth=nth)

    async def gone() -> bool:
        return session.id not in celld.cells()

    await until(gone, "it has no process")
    assert (await w.head(session))["owner_host"] is None


async def test_an_idle_session_sleeps_without_a_process_and_a_command_wakes_it(w: World) -> None:
    celld = await w.celld(SETPOINT_HIBERNATE_AFTER=SOON)
    session = await w.create()
    halt = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(halt))[0] == "succeeded"
    await asleep(w, celld, session)
    assert (await celld.health())["sessions"] == 0
    wakes = "SELECT 1 FROM setpoint.session_wakes WHERE session_id = $1"
    assert await w.all_seeing.fetch(wakes, session.id) == [], "no timer of it is due, ever"
    command = await w.enqueue(session, "unhalt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    assert "halt.ended" in await w.types(session), "it woke to what it knew"
    await asleep(w, celld, session, nth=2)
    assert [row["epoch"] for row in await w.events(session) if row["type"] == "lease.acquired"] == [1, 2]
    assert await w.gapless(session)


async def test_a_command_that_comes_as_it_falls_asleep_is_answered(w: World) -> None:
    marks = w.root / "marks"
    marks.mkdir()
    celld = await w.celld(
        SETPOINT_HIBERNATE_AFTER=SOON,
        SETPOINT_FAILPOINTS="celld.hibernate.before=stop@1",
        SETPOINT_FAILPOINTS_DIR=str(marks),
    )
    session = await w.create()

    async def about_to() -> bool:
        return (marks / "celld.hibernate.before").exists()

    await until(about_to, "it is about to sleep")
    command = await w.enqueue(session, "halt", {}, lane=0)
    os.kill(celld.pid, signal.SIGCONT)
    assert (await w.ended(command))[0] == "succeeded"
    await celld.said("release put off: commands wait", session=session.id)
    await asleep(w, celld, session)
    types = await w.types(session)
    assert types.count("lease.acquired") == 1, "it was never away"
    assert types.index("halt.started") < types.index("session.hibernated")
    assert await w.gapless(session)


async def test_a_sleeping_session_is_woken_on_any_host(w: World) -> None:
    first = await w.celld(SETPOINT_HIBERNATE_AFTER=SOON)
    session = await w.create()
    await asleep(w, first, session)
    await first.kill()
    second = await w.celld("cell-b", SETPOINT_HIBERNATE_AFTER=SOON)
    assert await w.types(session) == ["session.created", "lease.acquired", "session.started", "session.hibernated"]
    command = await w.enqueue(session, "halt", {}, lane=0)
    assert (await w.ended(command))[0] == "succeeded"
    await asleep(w, second, session, nth=2)
    assert await w.gapless(session)


async def test_a_session_is_woken_hundreds_of_times_and_nothing_is_left_behind(w: World) -> None:
    celld = await w.celld(SETPOINT_HIBERNATE_AFTER="50ms")
    sessions = [await w.create() for _ in range(4)]
    for turn in range(1, 26):
        for session in sessions:
            await w.enqueue(session, "halt" if turn % 2 else "unhalt", {}, lane=0)
        for session in sessions:
            await w.event(session, "command.succeeded", nth=turn)
    for session in sessions:
        types = await w.types(session)
        assert types.count("halt.started") + types.count("halt.ended") == 25
        assert await w.gapless(session)

    async def nobody() -> bool:
        return (await celld.health())["sessions"] == 0 and not celld.cells()

    await until(nobody, "all sleep")
    assert not [line for line in celld.lines if line["event"] in ("cell lost", "session lost")]
