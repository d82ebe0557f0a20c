"""A start on its way while its sync is cancelled never runs after the log says that it was."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.celld.harness import Celld, Process, Session, World, until
from tests.integration.celld.test_runs import apply
from tests.integration.sandboxd.harness import pids_of
from tests.wire import Wire

TTL = {"SETPOINT_LEASE_TTL": "6s"}
STOPS = {"SETPOINT_FAILPOINTS": "celld.run.before_send=stop@2"}
"""The first start evaluates, the second one is the sync."""

START_BYTES_MIN = 600  # a start carries a grant; clock readings and keep-alives are much smaller


@dataclass
class Late:
    """A world in which the start of a sync was sent and has not arrived yet."""

    w: World
    celld: Celld
    sandboxd: Process
    wire: Wire
    session: Session

    async def lose_link(self) -> None:
        """Break the connection that the start is on; the next one works."""
        self.wire.cut([self.celld.pid])
        self.wire.heal()

    async def cancel(self) -> None:
        """Have the sync cancelled; this ends before the sync does."""
        command = await self.w.enqueue(self.session, "cancel", {"asset": "a"}, lane=0)
        assert (await self.w.ended(command))[0] == "succeeded"

    def ran(self) -> bool:
        """Tell whether the sync's command has run."""
        return any(True for _ in self.w.root.rglob("ran"))


@contextlib.asynccontextmanager
async def late_start(w: World, command: str, **sandbox: str) -> AsyncIterator[Late]:
    """Start everything, with a wire between cell hosts and sandbox host, and keep the start of a sync back on it."""
    wire = Wire()
    await wire.start()
    try:
        await w.broker()
        sandboxd = await w.sandboxd(SETPOINT_ADVERTISE=f"127.0.0.1:{wire.port}", **TTL, **sandbox)
        wire.target = ("127.0.0.1", (await sandboxd.said("serving"))["port"])
        celld = await w.celld(admitted=False, SETPOINT_FAILPOINTS_DIR=str(w.root), **TTL, **STOPS)
        await celld.said("celld serves")
        session = await w.create(prefer=celld.host)
        await apply(w, session, command)

        async def stopped() -> bool:
            return (w.root / "celld.run.before_send").exists()

        async def kept() -> bool:
            return wire.kept_bytes >= START_BYTES_MIN

        await until(stopped, "celld stops before it sends the start")
        wire.delay_now([celld.pid])
        celld.child.send_signal(signal.SIGCONT)
        await until(kept, "the start is on its way")
        yield Late(w, celld, sandboxd, wire, session)
    finally:
        await wire.stop()


async def test_the_next_life_of_a_cell_knows_that_a_start_is_on_its_way(w: World) -> None:
    async with late_start(w, "touch ran a.txt") as late:
        os.kill(late.celld.cells()[late.session.id], signal.SIGKILL)
        await late.celld.said("session restored", nth=2)
        await late.cancel()
        await late.lose_link()
        await w.event(late.session, "sync.cancelled")
        late.wire.deliver()
        await late.sandboxd.said("refused", code="stale-token", request="start")
        assert not late.ran(), "the log had said that it was cancelled"
        assert await w.gapless(late.session)


async def test_a_late_start_that_arrives_in_time_is_found_and_cancelled(w: World) -> None:
    async with late_start(w, "touch ran; sleep 96.5") as late:
        os.kill(late.celld.cells()[late.session.id], signal.SIGKILL)
        await late.celld.said("session restored", nth=2)
        await late.cancel()
        await late.lose_link()
        late.wire.deliver()
        await w.event(late.session, "sync.cancelled")
        assert pids_of("sleep 96.5") == [], "it was ended before the log said so"


async def test_that_there_is_no_room_does_not_prove_that_an_earlier_sending_is_lost(w: World) -> None:
    async with late_start(w, "touch ran a.txt", SETPOINT_SANDBOX_RUNS_MAX="1") as late:
        other = await w.celld("cell-b", admitted=False, **TTL)
        await other.said("celld serves")
        session = await w.create(prefer=other.host)
        script = "touch full; until test -e go; do sleep 0.05; done"
        filler = await w.enqueue(session, "tool", {"name": "exec", "args": {"argv": ["sh", "-c", script]}})
        place = (await until(lambda: found(w, "full"), "the host is full")).parent
        await late.lose_link()
        await late.celld.said("start put off", why="no-capacity")
        await late.cancel()
        await w.event(late.session, "sync.cancelled")
        (place / "go").touch()
        assert (await w.ended(filler))[0] == "succeeded"
        late.wire.deliver()
        await late.sandboxd.said("refused", code="stale-token", request="start")
        assert not late.ran(), "the log had said that it was cancelled"


async def found(w: World, name: str) -> Path | None:
    return next(iter(w.root.rglob(name)), None)
