"""Events stay within their bound whatever a tenant's commands print and however its conditions are called."""

from __future__ import annotations

from celld.core import fit
from setpoint.contracts.cell import StepEnded
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.limits import EVENT_BYTES_MAX, OUTPUT_TAIL_BYTES
from setpoint.contracts.run import OutputRef, StepResult
from tests.sim.world import World, asset, pair, project

LOUD = OutputRef(bytes=OUTPUT_TAIL_BYTES, tail="\x01" * OUTPUT_TAIL_BYTES)


def largest(world: World) -> int:
    return max(len(canonical_json(event.data)) for event in world.log)


def test_control_characters_in_the_output_do_not_burst_an_event() -> None:
    result = StepResult(0, "tool", "exec", 0, 0, exit_code=0, detail="\x02" * 9000, stdout=LOUD, stderr=LOUD)
    assert len(canonical_json(fit.document(result))) < EVENT_BYTES_MAX
    world = World()
    world.command("tool", {"name": "exec", "args": {"argv": ["noise"]}})
    world.run(0.5)
    (run,) = world.state.executions.values()
    world.feed(StepEnded(run.id, result))
    assert largest(world) < EVENT_BYTES_MAX


def test_ordinary_output_is_left_as_it_is() -> None:
    result = StepResult(0, "tool", "exec", 0, 0, exit_code=0, stdout=OutputRef(bytes=4000, tail="x" * 4000))
    assert fit.shortened(result) == result


def test_an_asset_with_many_long_names_is_evaluated_and_synced_within_the_bound() -> None:
    names = [f"{n:03d}-" + "\x01" * 100 for n in range(190)]
    world = World(project(asset("a", pairs=[pair(*names, interval=60)]), asset("b", "a")))
    world.run(40)
    assert world.counts("a") == (2, 1)
    world.drift("a", names[7])
    world.run(120)
    assert world.counts("a")[1] == 2
    assert largest(world) < EVENT_BYTES_MAX
    assert world.docs["b"]["state"] == "ready"
