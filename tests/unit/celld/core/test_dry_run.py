"""Dry runs: they say what an evaluate or a sync would do, and leave the session as it was."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.contracts.codec import canonical_json
from setpoint.contracts.limits import EVENT_BYTES_MAX
from tests.sim.world import World, asset, pair, project

CHAIN = (asset("a", pairs=[pair(stages="pre run post")]), asset("b", "a"), asset("p", "a", pairs=()))


def foretold(world: World, kind: str, **payload: Any) -> dict[str, Any]:
    """Return the result of a dry run, which must add two events and change nothing that is known or owed."""
    head, before, executions = world.head, dict(world.docs), world.state.executions
    command_id = world.command(kind, {"dry_run": True} | payload)
    (end,) = world.ends(command_id)
    added = [event.type for event in world.log if event.seq > head]
    assert added == ["command.accepted", end.type]
    assert (world.docs, world.state.executions, world.state.commands) == (before, executions, {})
    assert end.type == "command.succeeded"
    result: dict[str, Any] = end.data["result"]
    return result


def ready(*assets: Any) -> World:
    """Return a world in which all was found Ready."""
    world = World(project(*assets), all_ready=True)
    world.run(20)
    return world


def test_a_dry_sync_says_which_stages_of_which_assets_would_run_from_the_top() -> None:
    result = foretold(ready(*CHAIN), "sync", select=["a+"], stages=["pre", "post"])
    assert (result["dry_run"], result["count"]) == (True, 1)
    (found,) = result["assets"]
    assert (found["asset"], found["sync"]) == ("a", "fix")
    assert [stage["stage"] for stage in found["stages"]] == ["pre", "post"]
    assert all(stage["args"] for stage in found["stages"])


def test_without_stages_all_of_them() -> None:
    result = foretold(ready(*CHAIN), "sync", select=["+b"])
    assert [found["asset"] for found in result["assets"]] == ["a", "b"]
    assert [stage["stage"] for stage in result["assets"][0]["stages"]] == ["pre", "run", "post"]


def test_a_dry_evaluate_names_the_conditions_of_what_has_any() -> None:
    result = foretold(ready(*CHAIN), "evaluate")
    assert result["assets"] == [
        {"asset": name, "conditions": [{"name": "c", "type": "Command"}]} for name in ("a", "b")
    ]


def test_it_waits_for_no_command_that_names_the_same_assets() -> None:
    world = ready(*CHAIN)
    world.command("sync", {"select": ["a"]})
    command_id = world.command("sync", {"select": ["a"], "dry_run": True})
    assert [end.type for end in world.ends(command_id)] == ["command.succeeded"]
    world.run(60)
    assert world.counts("a")[1] == 1


def test_what_cannot_be_done_is_rejected_as_it_would_be() -> None:
    world = ready(*CHAIN, asset("w", pairs=[pair("c", sync=None)]))
    for select in (["ab"], ["w"]):
        (end,) = world.ends(world.command("sync", {"select": select, "dry_run": True}))
        assert end.type == "command.rejected"


def test_an_empty_selection_is_said_to_be_empty() -> None:
    result = foretold(ready(*CHAIN), "evaluate", select=["a"], exclude=["a"])
    assert (result["count"], result["assets"], result["message"]) == (0, [], "nothing is selected")


@pytest.mark.parametrize("kind", ["evaluate", "sync"])
def test_more_than_a_result_may_hold_is_counted(kind: str) -> None:
    world = ready(*(asset(f"a{number:04}") for number in range(600)))
    labels = [f"a{number:04}" for number in range(480)]
    result = foretold(world, kind, select=labels)
    assert result["count"] == 480
    assert 0 < len(result["assets"]) < 480
    assert len(canonical_json(world.log[-1].data)) < EVENT_BYTES_MAX
