"""Lives of sessions to the last byte: the log, the effects and the documents are what others read and rely on.

Each life is a file in ``lives/`` that people have read. When behaviour changes on purpose, run
``python -m tests.unit.celld.core.test_lives`` and read the difference before it is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from setpoint.contracts.cell import MaterializeFailed, RunRefused, StepEnded
from setpoint.contracts.resource.model import CompiledSet
from setpoint.contracts.run import OutputRef, StepResult
from tests.sim.told import Told
from tests.sim.world import asset, pair, project

HERE = Path(__file__).parent / "lives"


def chain(**settings: float) -> CompiledSet:
    """Return a chain of three; the first is looked at every minute, the last has all stages."""
    return project(
        asset("a", interval=60),
        asset("b", "a", labels={"tier": "silver"}),
        asset("c", "b", pairs=[pair("rows", "fresh", stages="pre run post", interval=300)]),
        **settings,
    )


def a_cold_chain_converges_and_heals() -> Told:
    """Everything is Drifted at first; later its top drifts once."""
    world = Told(chain())
    world.run(60)
    world.drift("a")
    world.run(120)
    return world


def a_failing_sync_is_suspended_and_resumed() -> Told:
    """A stage fails three times; a person mends it and resumes."""
    world = Told(chain(cooldown_initial_s=5.0))
    world.scripts["b"] = lambda world, label: False
    world.run(100)
    del world.scripts["b"]
    world.command("resume", {"select": ["b"]})
    world.run(60)
    return world


def a_sync_makes_it_worse() -> Told:
    """A drift sync breaks another condition: suspended at once; a later Ready lifts it."""
    world = Told(project(asset("a", pairs=[pair("x", sync="one"), pair("y", sync="two")], interval=None)))
    world.truth["a", "y"] = True

    def worse(told: object, label: str) -> bool:
        world.truth["a", "y"] = False
        return True

    world.scripts["a"] = worse
    world.run(30)
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(30)
    return world


def pairs_are_healed_in_turn() -> Told:
    """Two pairs, both Drifted, each with its own sync; then one whose condition cannot be told."""
    world = Told(project(asset("a", pairs=[pair("x", sync="one"), pair("y", sync="two", interval=30.0)])))
    world.run(40)
    world.truth["a", "y"] = "timeout"
    world.run(100)
    world.truth["a", "y"] = False
    world.run(100)
    return world


def people_give_commands() -> Told:
    """Manual work by selector and stage, halts, suspensions, a cancel, tools, and what is refused."""
    world = Told(chain())
    world.run(60)
    world.command("halt", {"reason": "a migration"})
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(3)
    world.command("sync", {"select": ["c"], "stages": ["run"]})
    world.command("suspend", {"select": ["b+"], "reason": "a visit"})
    world.run(20)
    world.command("unhalt", {})
    world.run(30)
    world.command("resume", {"select": ["b", "c"]})
    world.run(5)
    running = world.command("sync", {"select": ["a+"], "exclude": ["b"]})
    world.run(2)
    world.command("cancel", {"command_id": running})
    world.command("evaluate", {"select": ["nope"]})
    world.command("tool", {"name": "exec", "args": {"argv": ["true"]}})
    world.command("tool", {"name": "uppercase", "args": {"text": "x"}})
    world.command("cancel", {"asset": "c"})
    world.command("unhalt", {})
    world.command("gibberish", {"x": 1})
    world.run(60)
    world.command("close", {})
    world.run(10)
    return world


def owners_change_in_the_middle() -> Told:
    """Take-overs in a sync, in an evaluation and in a tool, each run found in another way."""
    world = Told(chain())
    world.run(4)
    world.crash(lambda execution_id: "running")
    world.run(20)
    world.crash(lambda execution_id: "interrupted")
    world.run(40)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.crash(lambda execution_id: "never_seen")
    world.run(10)
    world.crash(lambda execution_id: "lost")
    world.run(60)
    world.command("tool", {"name": "echo", "args": {"text": "x"}})
    world.crash(lambda execution_id: "lost")
    world.run(40)
    return world


def projects_change() -> Told:
    """A new generation in the middle of a sync: an asset goes, one comes, one changes; then only files change."""
    world = Told(chain())
    world.run(60)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(2)
    world.apply(
        project(asset("a", interval=30), asset("b", "a", pairs=[pair(interval=10)]), asset("d", "b", pairs=())),
        all_ready=True,
    )
    world.run(60)
    world.change_files()
    world.run(10)
    world.place = ("sandbox-2", "ledger-2", 2)
    world.change_files()
    world.run(30)
    return world


def locks_are_shared() -> Told:
    """Two assets with one lock, which another session takes for a while; an operator breaks it."""
    world = Told(
        project(
            asset("a", pairs=[pair(lock="lake", interval=100)]),
            asset("b", pairs=[pair(lock="lake")]),
            lock_retry_interval_s=10.0,
            lock_retry_max_attempts=2,
        )
    )
    world.run(40)
    world.hold("lake")
    world.drift("a")
    world.run(140)
    world.foreign.clear()
    world.run(60)
    return world


def upstreams_are_waited_for() -> Told:
    """A diamond under `upstreamPolicy: all`, a pass-through, an asset that is only watched."""
    world = Told(
        project(
            asset("a", interval=600),
            asset("b", "a"),
            asset("c", "a", auto_sync_on_drift=False),
            asset("p", "b", "c", pairs=()),
            asset("x", "p", upstream_policy="all"),
            max_sync_concurrency=1,
            max_evaluate_concurrency=2,
        ),
        all_ready=True,
    )
    world.run(20)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(60)
    return world


def timers_of_every_kind() -> Told:
    """Intervals beside a cron time, and a result that is young enough to be taken as it is."""
    world = Told(
        project(
            asset("a", pairs=[pair("m", interval=45.0, cache_ttl_s=100.0), pair("k", check_at="*/2 * * * *")]),
            asset("b", pairs=[pair("n", check_at="0 9 * * 1", timezone="Europe/Berlin")]),
        ),
        all_ready=True,
    )
    world.run(400)
    return world


def runs_end_in_other_ways() -> Told:
    """A lock is broken; a sync, an evaluation and tools are refused or fail; files cannot be prepared."""
    world = Told(project(asset("a", pairs=[pair(lock="lake")]), asset("b", "a")))
    world.run(3)
    world.break_lock("lake")
    _refuse(world)
    world.run(30.5)
    _refuse(world)
    world.run(50)
    world.truth["a", "c"] = True
    world.run(60)
    world.command("tool", {"name": "exec", "args": {"argv": ["false"]}})
    world.run(0.1)
    output = {"stdout": OutputRef(bytes=9, tail="some"), "stderr": OutputRef(bytes=3, tail="bad")}
    _end_step(world, exit_code=3, **output)
    world.command("tool", {"name": "exec", "args": {"argv": ["sleep", "9"]}})
    world.run(0.1)
    _end_step(world, signal=9, error="timeout", detail="60 s are over")
    world.command("tool", {"name": "echo", "args": {"text": "x"}})
    world.run(0.1)
    _refuse(world)
    world.materialize_s = 600.0
    world.change_files()
    world.command("sync", {"select": ["a"]})
    world.feed(MaterializeFailed(2, "the disk is full"))
    world.command("tool", {"name": "echo", "args": {"text": "y"}})
    return world


def _refuse(world: Told) -> None:
    """Refuse the one run that is open."""
    (run,) = world.state.executions.values()
    world.runs[run.id].over = True
    world.feed(RunRefused(run.id, "invalid", "there is no such workspace"))


def _end_step(world: Told, **how: Any) -> None:
    """End the one step of the tool that is open."""
    (run,) = world.state.executions.values()
    world.runs[run.id].over = True
    result = StepResult(0, "tool", "exec", world.now, world.now, **how)
    world.feed(StepEnded(run.id, result, {"memory": "cgroup"}))


LIVES: tuple[Callable[[], Told], ...] = (
    a_cold_chain_converges_and_heals,
    a_failing_sync_is_suspended_and_resumed,
    a_sync_makes_it_worse,
    pairs_are_healed_in_turn,
    people_give_commands,
    owners_change_in_the_middle,
    projects_change,
    locks_are_shared,
    upstreams_are_waited_for,
    timers_of_every_kind,
    runs_end_in_other_ways,
)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_a_life_is_as_it_was_read(life: Callable[[], Told]) -> None:
    written = (HERE / f"{life.__name__}.txt").read_text().splitlines()
    lived = life().lines
    for number, (before, now) in enumerate(zip(written, lived, strict=False), start=1):
        assert now == before, f"{life.__name__}.txt:{number}"
    assert len(lived) == len(written)


if __name__ == "__main__":
    for life in LIVES:
        (HERE / f"{life.__name__}.txt").write_text("\n".join(life().lines) + "\n")
