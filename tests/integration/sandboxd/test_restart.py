"""sandboxd killed at its worst moments: what ran is proven gone, said to be interrupted, and never run again."""

from __future__ import annotations

import pytest

from sandboxd.ledger import Ledger
from sandboxd.reaper import clear_predecessor
from setpoint import runtime
from setpoint.contracts import run
from tests.integration.sandboxd.harness import Sandboxd, cell, connected, eventually, pids_of, tool


async def test_killed_in_mid_run_the_run_is_interrupted_and_nothing_is_left(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(
            run.Step(0, "stage", "pre", ("sh", "-c", "echo pre"), 30.0),
            run.Step(1, "stage", "run", ("sh", "-c", "echo begun; touch up; (setsid sleep 85.5 &); sleep 85.5"), 30.0),
        )
        await peer.start(spec)
        await peer.exists("up")
        await eventually(lambda: len(pids_of("sleep 85.5")) == 2, "both sleep")
        old = await peer.token()
        fresh.kill()
    fresh.start()
    assert pids_of("sleep 85.5") == [] and fresh.processes() == []
    async with connected(peer.again()) as again:
        assert (await again.fence((1, 2))).runs == {spec.run_id: "interrupted"}
        answer = await again.attach(spec.run_id)
        assert answer.state == "interrupted"
        assert (await again.done(spec.run_id)).outcome == "interrupted"
        assert [(r.index, r.exit_code) for r in again.results(spec.run_id)] == [(0, 0)]
        part = await again.output(spec.run_id, step=1)
        assert part.content == b"begun\n" and part.eof
        repeated = again.spec(*spec.steps, run_id=spec.run_id)
        assert (await again.start(repeated)).state == "interrupted"
        assert (await again.start(again.spec(tool("true")), old)).code == "stale-token"
        assert await again.says("ls") == "up\n", "the workspace is still there"


async def test_floors_and_finished_runs_survive(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        await peer.fence((3, 4))
        result = await peer.once("sh", "-c", "echo out", seq=17)
        run_id = peer.pushed[-1].run_id
        ledger = (await peer.token()).ledger_id
    assert fresh.stop() == 0
    fresh.start()
    async with connected(peer.again()) as again:
        assert (await again.token()).ledger_id == ledger
        assert (await again.fence((3, 3))).code == "stale-epoch"
        fenced = await again.fence((3, 4))
        assert fenced.runs == {run_id: "finished"} and fenced.seq == 17
        assert (await again.attach(run_id)).state == "finished"
        assert (await again.done(run_id)).outcome == "completed"
        assert again.results(run_id) == [result]


@pytest.mark.parametrize(
    ("failpoint", "state", "ran"),
    [
        ("sandboxd.start.before_ledger", "never_seen", False),
        ("sandboxd.start.after_ledger", "interrupted", False),
        ("sandboxd.run.before_exec", "interrupted", False),
        ("sandboxd.run.after_exit", "interrupted", True),
        ("sandboxd.run.before_result", "interrupted", True),
    ],
)
async def test_killed_at_a_failpoint(fresh: Sandboxd, failpoint: str, state: str, ran: bool) -> None:
    fresh.start(SETPOINT_FAILPOINTS=f"{failpoint}=kill")
    async with cell(fresh) as peer:
        spec = peer.spec(tool("touch", "ran"))
        peer.link.send(run.Start(peer.link.next_id(), peer.grant(), await peer.token(), spec))
        await eventually(fresh.mark(failpoint).exists, "the failpoint acts")
        assert fresh.process is not None
        fresh.process.wait(timeout=20)
    fresh.start()
    assert fresh.processes() == []
    assert peer.place is not None and (peer.place / "ran").exists() is ran
    async with connected(peer.again()) as again:
        fenced = await again.fence()
        assert fenced.runs.get(spec.run_id, "never_seen") == state
        if state == "never_seen":
            assert (await again.start(spec)).state == "running"
            assert (await again.done(spec.run_id)).outcome == "completed"
            assert await again.says("ls") == "ran\n"


async def test_frozen_and_killed_its_sandboxes_die_with_it(fresh: Sandboxd) -> None:
    fresh.start(SETPOINT_FAILPOINTS="sandboxd.run.after_exit=stop@2")
    async with cell(fresh) as peer:
        slow = peer.spec(tool("sh", "-c", "touch up; sleep 86.5"))
        await peer.start(slow)
        await peer.exists("up")
        await peer.once("true")
        peer.link.send(run.Start(peer.link.next_id(), peer.grant(), await peer.token(), peer.spec(tool("true"))))
        await eventually(fresh.mark("sandboxd.run.after_exit").exists, "the process stops")
        fresh.kill()
    await eventually(lambda: not pids_of("sleep 86.5"), "the sandbox dies with its daemon")


async def test_a_ledger_that_is_gone_is_a_new_ledger(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        await peer.once("true")
        first = await peer.token()
    fresh.stop()
    for path in (fresh.root / "sandboxd").glob("ledger.db*"):
        path.unlink()
    fresh.start()
    async with connected(peer.again()) as again:
        assert (await again.token()).ledger_id != first.ledger_id
        assert (await again.fence()).runs == {}
        assert (await again.start(again.spec(tool("true")))).code == "unknown-workspace"


async def test_a_link_lost_in_mid_run_does_not_end_the_run(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; while [ ! -e go ]; do sleep 0.02; done; echo done"))
        await peer.start(spec)
        await peer.exists("up")
    async with connected(peer.again()) as again:
        assert (await again.attach(spec.run_id)).state == "running"
        await again.says("touch go")
        assert (await again.done(spec.run_id)).outcome == "completed"
        assert [r.stdout.tail for r in again.results(spec.run_id)] == ["done\n"]


async def test_runs_of_another_boot_are_interrupted_without_touching_processes(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; sleep 87.5"))
        await peer.start(spec)
        await peer.exists("up")
        fresh.kill()
    ledger = Ledger(fresh.root / "sandboxd" / "ledger.db", runtime.new_id())
    (left,) = ledger.running()
    assert left.pid is not None and left.boot_id == runtime.boot_id()
    assert clear_predecessor(ledger) == [spec.run_id]
    assert ledger.running() == [] and clear_predecessor(ledger) == []
    ledger.close()
