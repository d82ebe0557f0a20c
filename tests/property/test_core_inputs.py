"""Any input at any moment: the core answers, its fold is what it decided by, and it never wakes in the past."""

from __future__ import annotations

from random import Random
from typing import Any, get_args

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from setpoint.contracts.cell import (
    Delivered,
    Input,
    LockBusy,
    Materialized,
    MaterializeFailed,
    Owned,
    RunEnded,
    RunFound,
    RunRefused,
    StepEnded,
    Tick,
)
from setpoint.contracts.command import TYPES, lane_of
from setpoint.contracts.run import Outcome, RunState, StepResult
from tests.sim.world import World, asset, pair, project

ASSETS = (
    asset("a", interval=60),
    asset("b", "a", pairs=[pair("c0", sync="fix0", stages="pre run post"), pair("c1", sync="fix1")]),
    asset("p", "a", pairs=()),
    asset("x", "p", "b", auto_sync_on_drift=False),
    asset("l", "a", pairs=[pair("c0", lock="k", cache_ttl_s=90.0, check_at="* * * * *")], upstream_policy="all"),
    asset("m", pairs=[pair("c0", lock="k", interval=20.0)], auto_sync_on_change=True),
)
PAYLOADS: dict[str, list[Any]] = {
    "evaluate": [{}, {"select": ["a", "x"]}, {"select": ["nobody"]}],
    "sync": [{"select": ["b"]}, {"select": ["l", "m"]}, {"select": ["a", "x"], "stages": ["run"]}, {"select": []}],
    "cancel": [{"asset": "b"}, {"asset": "a"}, {"command_id": "nobody"}],
    "suspend": [{"select": ["a", "a"], "reason": "x"}],
    "resume": [{"select": ["a", "b", "p"]}],
    "tool": [{"name": "echo", "args": {"text": "x"}}, {"name": "exec", "args": {}}],
    "apply": [{"generation": {"resources": "r", "files": "f"}}, 3],
}


def _input(random: Random, world: World) -> Input:
    ids = [*world.runs, "nobody"]
    run = random.choice(ids)
    kind = random.choice(["stage", "condition", "tool"])
    fields: list[dict[str, Any]] = [{"exit_code": 0}, {"exit_code": 2}, {"signal": 9}, {"error": "timeout"}]
    name = random.choice(["run", "pre", "post", "c", "c0", "c1", "echo"])
    fields += [{"error": "skipped"}, {"error": "cancelled"}]
    result = StepResult(random.randint(0, 6), kind, name, 0, 0, **random.choice(fields))
    command = random.choice(sorted(TYPES.keys() - {"close"}))
    payload = random.choice(PAYLOADS.get(command, [{}]))
    number = random.randint(1, 10**9)
    inputs: list[Input] = [
        Tick(),
        Owned("host"),
        Delivered(f"id-{number}", lane_of(command), number, command, payload),
        Materialized(random.randint(0, 3), random.choice(["s1", "s2"]), "l", 1),
        MaterializeFailed(random.randint(0, 3), "x"),
        StepEnded(run, result),
        RunEnded(run, random.choice(get_args(Outcome))),
        RunFound(run, random.choice((*get_args(RunState), "lost"))),
        RunRefused(run, "invalid", "x"),
        LockBusy(run, random.choice(["k", "other"]), "elsewhere"),
        Delivered(f"id-{number}", 0, number, "lock_broken", {"key": "k", "execution_id": run}),
    ]
    return random.choice(inputs)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**9))
@example(135)  # a lost workspace withdraws a waiting drift sync, and a manual one takes its place
def test_the_core_bears_any_input_at_any_moment(seed: int) -> None:
    random = Random(seed)
    world = World(project(*ASSETS))
    world.tolerant = True
    for _ in range(60):
        world.run(random.choice((0.0, 0.3, 1.0, 5.0, 40.0)))
        world.feed(_input(random, world))
    world.command("close")
    for run in list(world.state.executions.values()):
        world.feed(RunEnded(run.id, "cancelled"))
    assert world.state.closed
    assert not world.state.commands
