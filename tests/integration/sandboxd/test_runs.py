"""Runs on a real host: order of steps, ends of every kind, and that nothing outlives its step."""

from __future__ import annotations

import asyncio

from setpoint import runtime
from setpoint.contracts import run
from tests.integration.sandboxd.harness import Sandboxd, cell, eventually, pids_of, tool


def stage(index: int, script: str, timeout_s: float = 30.0) -> run.Step:
    """Return a stage that runs shell text."""
    return run.Step(index, "stage", f"s{index}", ("sh", "-c", script), timeout_s)


def condition(index: int, script: str) -> run.Step:
    """Return a condition that runs shell text."""
    return run.Step(index, "condition", f"c{index}", ("sh", "-c", script), 30.0)


async def test_steps_run_in_order_and_conditions_follow_a_failed_stage(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(
            stage(0, "echo 0 >>order"),
            stage(1, "echo 1 >>order; exit 3"),
            stage(2, "echo 2 >>order"),
            condition(3, "echo 3 >>order; false"),
            condition(4, "echo 4 >>order"),
        )
        await peer.start(spec)
        ended = await peer.done(spec.run_id)
        results = peer.results(spec.run_id)
        assert [(r.index, r.exit_code, r.error) for r in results] == [
            (0, 0, None),
            (1, 3, None),
            (2, None, "skipped"),
            (3, 1, None),
            (4, 0, None),
        ]
        assert ended.outcome == "completed"
        assert (await peer.says("cat order")).split() == ["0", "1", "3", "4"]
        assert all(r.started_at <= r.ended_at for r in results)


async def test_a_command_that_cannot_be_started_is_a_spawn_error(host: Sandboxd) -> None:
    async with cell(host) as peer:
        missing = await peer.once("no-such-command")
        assert missing.error == "spawn" and missing.exit_code is None and "No such file" in missing.detail
        assert (await peer.once("/etc")).error == "spawn"
        assert (await peer.once("sh", "-c", "exit 127")).exit_code == 127
        assert (await peer.once("sh", "-c", "kill -TERM $$")).exit_code == 128 + 15


async def test_a_start_repeated_runs_once(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("sh", "-c", "echo x >>once; while [ ! -e go ]; do sleep 0.02; done"))
        first, second = await peer.start(spec), await peer.start(spec)
        assert first.state == second.state == "running"
        await peer.exists("once")
        await peer.says("touch go")
        await peer.done(spec.run_id)
        third = await peer.start(spec)
        assert third.state == "finished"
        assert await peer.says("cat once") == "x\n"


async def test_a_timeout_kills_a_fork_storm(host: Sandboxd) -> None:
    async with cell(host) as peer:
        storm = "(f() { (sleep 77.5 & f) & f; }; f) 2>/dev/null & exec sleep 77.5"
        result = await peer.once("sh", "-c", storm, timeout_s=0.5)
        assert result.error == "timeout" and result.exit_code is None and "0.5 s" in result.detail
        assert pids_of("sleep 77.5") == []
        assert (await peer.once("true")).ok


async def test_cancel_kills_what_detached_itself(host: Sandboxd) -> None:
    async with cell(host) as peer:
        script = "setsid sh -c 'setsid sleep 78.5 & (sleep 78.5 &) ' & trap '' TERM INT HUP; touch up; sleep 78.5"
        spec = peer.spec(tool("sh", "-c", script))
        await peer.start(spec)
        await peer.exists("up")
        await eventually(lambda: len(pids_of("sleep 78.5")) >= 3, "all of them sleep")
        assert isinstance(await peer.cancel(spec.run_id), run.Done)
        assert (await peer.done(spec.run_id)).outcome == "cancelled"
        assert pids_of("sleep 78.5") == []
        assert [r.error for r in peer.results(spec.run_id)] == ["cancelled"]


async def test_cancel_gives_every_step_a_result(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(stage(0, "touch up; sleep 79.5"), stage(1, "touch no"), condition(2, "touch no"))
        await peer.start(spec)
        await peer.exists("up")
        await peer.cancel(spec.run_id)
        await peer.done(spec.run_id)
        assert [r.error for r in peer.results(spec.run_id)] == ["cancelled"] * 3
        assert await peer.says("ls") == "up\n"
        assert isinstance(await peer.cancel(spec.run_id), run.Done)


async def test_what_a_step_leaves_behind_is_dead_before_the_next(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(
            stage(0, "(setsid sleep 80.5 >/dev/null 2>&1 &) ; exit 0"),
            stage(1, "cat /proc/[0-9]*/comm | grep -cx sleep; true"),
        )
        await peer.start(spec)
        await peer.done(spec.run_id)
        assert pids_of("sleep 80.5") == []
        assert peer.results(spec.run_id)[1].stdout.tail == "0\n"


async def test_results_are_replayed_to_who_attaches(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(*(stage(n, f"echo {n}") for n in range(4)))
        await peer.start(spec)
        await peer.done(spec.run_id)
        peer.pushed.clear()
        answer = await peer.attach(spec.run_id, after=1)
        assert answer.state == "finished"
        await peer.done(spec.run_id)
        assert [r.index for r in peer.results(spec.run_id)] == [2, 3]


async def test_a_running_run_is_adopted_under_a_newer_epoch(host: Sandboxd) -> None:
    async with cell(host) as old:
        spec = old.spec(stage(0, "echo 0"), stage(1, "touch up; while [ ! -e go ]; do sleep 0.02; done"))
        await old.start(spec)
        await old.exists("up")
        async with cell(host, "cell-2", workspace=False) as new:
            new.session = old.session
            fenced = await new.fence((1, 2))
            assert fenced.runs == {spec.run_id: "running"} and fenced.seq == 1
            assert (await new.attach(spec.run_id)).state == "running"
            assert (await old.cancel(spec.run_id)).code == "stale-epoch"
            assert await new.says("touch go") == ""
            assert (await new.done(spec.run_id)).outcome == "completed"
            assert [r.index for r in new.results(spec.run_id)] == [0, 1]
        assert [r.index for r in old.results(spec.run_id)] == [0]


async def test_a_run_is_killed_at_its_orphan_deadline_which_counts_from_the_token(host: Sandboxd) -> None:
    async with cell(host) as peer:
        old = await peer.token()
        early = run.ClockToken(old.boot_id, old.ledger_id, old.incarnation, old.clock_s - 8.0)
        spec = peer.spec(tool("sleep", "81.5"), orphan_timeout_s=9.0)
        await peer.start(spec, early)
        done = await peer.done(spec.run_id)
        assert done.outcome == "orphaned"
        assert runtime.boottime_s() - early.clock_s >= 9.0
        assert runtime.boottime_s() - old.clock_s < 8.0, "time of receipt does not count"
        assert peer.results(spec.run_id) == []
        assert pids_of("sleep 81.5") == []
        assert (await peer.attach(spec.run_id)).state == "finished"


async def test_a_start_that_comes_after_its_own_orphan_deadline_is_refused(host: Sandboxd) -> None:
    async with cell(host) as peer:
        old = await peer.token()
        early = run.ClockToken(old.boot_id, old.ledger_id, old.incarnation, old.clock_s - 8.0)
        spec = peer.spec(tool("touch", "began"), orphan_timeout_s=5.0)
        refused = await peer.start(spec, early)
        assert (refused.code, refused.detail) == ("stale-token", "the clock token is 8.0 s old; 5 s are allowed")
        assert await peer.says("ls") == ""


async def test_keep_alives_move_the_deadline_only_for_the_owner(host: Sandboxd) -> None:
    async with cell(host) as peer, cell(host, "cell-2", workspace=False) as stranger:
        token = await peer.token()
        spec = peer.spec(tool("sleep", "82.5"), orphan_timeout_s=2.0)
        kept = peer.spec(tool("sh", "-c", "touch up; while [ ! -e go ]; do sleep 0.02; done"), orphan_timeout_s=2.0)
        other = runtime.new_id(), (1, 1)
        await peer.start(spec, token)
        stranger.link.send(run.KeepAlive(await stranger.token(), ((peer.session, peer.epoch), other)))
        assert (await peer.done(spec.run_id)).outcome == "orphaned"
        await peer.start(kept)
        until_s = runtime.boottime_s() + 3.0
        while runtime.boottime_s() < until_s:
            peer.link.send(run.KeepAlive(await peer.token(), ((peer.session, peer.epoch),)))
        assert await peer.says("touch go") == ""
        assert (await peer.done(kept.run_id)).outcome == "completed"


async def test_the_host_takes_so_many_runs_and_no_more(fresh: Sandboxd) -> None:
    fresh.start(SETPOINT_SANDBOX_RUNS_MAX="2")
    async with cell(fresh) as peer:
        specs = [peer.spec(tool("sleep", "83.5")) for _ in range(3)]
        answers = [await peer.start(spec) for spec in specs]
        assert [type(answer) for answer in answers] == [run.Started, run.Started, run.Refused]
        assert answers[2].code == "no-capacity" and answers[2].retry
        assert (await peer.fence()).runs.keys() == {specs[0].run_id, specs[1].run_id}
        await peer.cancel(specs[0].run_id)
        await peer.done(specs[0].run_id)
        assert isinstance(await peer.start(specs[2]), run.Started)


async def test_one_tenant_never_has_all_places(fresh: Sandboxd) -> None:
    fresh.start(SETPOINT_SANDBOX_RUNS_MAX="4")
    async with cell(fresh) as greedy, cell(fresh, "cell-2", workspace=False) as other:
        answers = await asyncio.gather(*(greedy.start(greedy.spec(tool("sleep", "83.25"))) for _ in range(4)))
        assert [type(answer) for answer in answers].count(run.Started) == 3
        refused = next(answer for answer in answers if isinstance(answer, run.Refused))
        assert (refused.code, refused.retry) == ("no-capacity", True)
        other.tenant = runtime.new_id()
        await other.fence()
        assert isinstance(await other.materialize(), run.Done)
        assert (await other.once("true")).ok


async def test_a_host_that_is_stopped_interrupts_its_runs_and_says_so(fresh: Sandboxd) -> None:
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; sleep 84.5"))
        await peer.start(spec)
        await peer.exists("up")
        assert fresh.stop() == 0
        assert (await peer.done(spec.run_id)).outcome == "interrupted"
        assert pids_of("sleep 84.5") == []
