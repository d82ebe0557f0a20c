"""sandboxd frozen alone, on a machine that goes on: its runs end at their orphan deadlines all the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from setpoint import runtime
from setpoint.contracts import run
from tests.integration.sandboxd.harness import Cell, Sandboxd, cell, eventually, pids_of, tool


async def warden_of(host: Sandboxd) -> int:
    """Return the pid of a sandboxd's warden, once it goes by that name."""

    def named() -> list[int]:
        children = Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
        return [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "warden"]

    await eventually(lambda: len(named()) == 1, "it has a warden")
    return named()[0]


async def frozen_after(peer: Cell, *argv: str, orphan_timeout_s: float) -> tuple[run.RunSpec, float]:
    """Start a run that has two sleep, and freeze its host; return the run and its deadline."""
    token = await peer.token()
    then = run.Step(1, "tool", "tool", ("touch", "second"), 30.0)
    spec = peer.spec(tool(*argv), then, orphan_timeout_s=orphan_timeout_s)
    await peer.start(spec, token)
    await peer.exists("up")
    await eventually(lambda: len(pids_of("sleep 93.5")) == 2, "both sleep")
    os.kill(peer.host.pid, signal.SIGSTOP)
    return spec, token.clock_s + orphan_timeout_s


@pytest.mark.parametrize("arguments", [(), ("--unsafe-no-isolation",)])
async def test_a_run_of_a_frozen_host_is_killed_at_its_deadline(fresh: Sandboxd, arguments: tuple[str, ...]) -> None:
    fresh.start(*arguments)
    async with cell(fresh) as peer:
        script = "touch up; (setsid sleep 93.5 &); sleep 93.5"
        spec, deadline_s = await frozen_after(peer, "sh", "-c", script, orphan_timeout_s=3.0)
        await eventually(lambda: not pids_of("sleep 93.5"), "the run is killed while its host is frozen")
        assert runtime.boottime_s() >= deadline_s, "not before"
        os.kill(fresh.pid, signal.SIGCONT)
        assert (await peer.done(spec.run_id)).outcome == "orphaned"
        assert peer.results(spec.run_id) == [], "nobody can tell what came of the step"
        assert peer.place is not None and not (peer.place / "second").exists(), "and none follows"
        assert (await peer.once("true")).ok


async def test_what_keeps_a_run_alive_reaches_the_warden(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; sleep 94.5"), orphan_timeout_s=2.0)
        await peer.start(spec)
        await eventually(lambda: bool(pids_of("sleep 94.5")), "it sleeps")
        until_s = runtime.boottime_s() + 4.0
        while runtime.boottime_s() < until_s:
            peer.link.send(run.KeepAlive(await peer.token(), ((peer.session, peer.epoch),)))
        assert pids_of("sleep 94.5")
        os.kill(fresh.pid, signal.SIGSTOP)
        await eventually(lambda: not pids_of("sleep 94.5"), "the run is killed in the end")
        assert runtime.boottime_s() >= until_s + 2.0
        os.kill(fresh.pid, signal.SIGCONT)
        assert (await peer.done(spec.run_id)).outcome == "orphaned"


async def test_a_start_that_froze_before_its_gate_opened_does_not_run_afterwards(fresh: Sandboxd) -> None:
    fresh.start(SETPOINT_FAILPOINTS="sandboxd.run.before_exec=stop")
    async with cell(fresh) as peer:
        spec = peer.spec(tool("touch", "ran"), orphan_timeout_s=2.0)
        peer.link.send(run.Start(peer.link.next_id(), peer.grant(), await peer.token(), spec))
        await eventually(fresh.mark("sandboxd.run.before_exec").exists, "it freezes")
        await eventually(lambda: not fresh.processes(), "what waits at the gate is killed, too")
        os.kill(fresh.pid, signal.SIGCONT)
        assert (await peer.done(spec.run_id)).outcome == "orphaned"
        assert peer.place is not None and not (peer.place / "ran").exists()


async def test_without_its_warden_a_host_ends(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; sleep 95.5"))
        await peer.start(spec)
        await peer.exists("up")
        os.kill(await warden_of(fresh), signal.SIGKILL)
        assert fresh.process is not None
        assert fresh.process.wait(timeout=20) == 1
    await eventually(lambda: not pids_of("sleep 95.5"), "its runs end with it")


async def test_the_warden_ends_with_its_host(fresh: Sandboxd) -> None:
    fresh.start()
    warden = await warden_of(fresh)
    fresh.kill()
    await eventually(lambda: runtime.process_start(warden) is None, "the warden ends")
    fresh.start()
    warden = await warden_of(fresh)
    assert fresh.stop() == 0
    await eventually(lambda: runtime.process_start(warden) is None, "the warden ends")
