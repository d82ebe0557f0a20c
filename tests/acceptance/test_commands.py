"""What people ask for by hand, over the API: selectors, manual syncs, cancels, limits. More steps: conftest.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from setpoint.contracts.limits import LANE_WORK, UNENDED_MAX
from setpoint.contracts.problem import Problem
from tests.acceptance.harness import World
from tests.acceptance.made import Made
from tests.acceptance.projects import runs
from tests.acceptance.sentence import listed, rows_of
from tests.acceptance.story import Event, Story
from tests.measured import measured

scenarios("features/commands.feature")


@given(parsers.parse('an asset "{first}" and an asset "{second}"'))
def named(story: Story, first: str, second: str) -> None:
    for name in (first, second):
        story.assets[name] = Made(name)
        story.put(f"{name}.txt")


@given("before and after the sync of A something else is done")
def staged(story: Story) -> None:
    story.assets["a"].stages = {stage: f"echo {stage} >> stages.a" for stage in ("pre", "post")}


@when(parsers.parse('somebody has "{name}" checked'))
def checked(story: Story, name: str) -> None:
    story.command("evaluate", select=[name])


@when(parsers.parse('somebody syncs "{selector}"'))
def synced(story: Story, selector: str) -> None:
    story.command("sync", select=_words(selector))


@when(parsers.re(r'somebody asks for a dry run of a (?P<what>sync|check) of "(?P<selector>[^"]+)"'))
def dry(story: Story, what: str, selector: str) -> None:
    kind = {"sync": "sync", "check": "evaluate"}[what]
    story.command(kind, select=_words(selector), dry_run=True)


@when(parsers.re(r'somebody runs the stages? "(?P<stages>[^"]+)" of the sync of A'))
def staged_by_hand(story: Story, stages: str) -> None:
    story.command("sync", select=["a"], stages=stages.split(", "))


@when("somebody cancels the sync of A")
def cancelled(story: Story) -> None:
    story.command("cancel", asset="a")


@when("so many checks of A are asked for that no more are taken")
def asked_too_much(story: Story) -> None:
    story.sent = [story.send("evaluate", select=["a"]) for _ in range(UNENDED_MAX[LANE_WORK])]
    with pytest.raises(Problem) as refused:
        story.send("evaluate", select=["a"])
    assert refused.value.code == "inbox-full"


@when("the sync of A is under way")
def under_way(stack: World, story: Story) -> None:
    stack.until(story.recorder, "the sync of A has written its first line")


@then("these are checked when somebody asks for them")
def asked_and_checked(story: Story, datatable: list[list[str]]) -> None:
    for row in rows_of(datatable):
        story.begin()
        ended = story.command("evaluate", select=_words(row["asked for"]), exclude=_words(row["but not"]))
        assert ended["status"] == "succeeded", (row, ended)
        seen = [event["asset"] for event in story.events("evaluation.completed")]
        assert sorted(seen) == listed(row["are checked"]), row


def _words(text: str) -> list[str]:
    """Return the selectors of a table's cell; names of assets are written in capitals there."""
    return [re.sub(r"[A-Z]", lambda name: name[0].lower(), word) for word in text.split()]


@then("that succeeds")
def succeeds(story: Story) -> None:
    assert story.last["status"] == "succeeded", story.last


@then(parsers.parse('that fails with "{message}"'))
def fails(story: Story, message: str) -> None:
    assert (story.last["status"], story.last["result"]["message"]) == ("failed", message)


@then(parsers.parse('that is refused with "{message}"'))
def refused(story: Story, message: str) -> None:
    assert (story.last["status"], story.last["result"]["message"]) == ("rejected", message)


@then("nothing else happened")
def nothing_else(story: Story) -> None:
    assert {event["type"] for event in story.events()} == {"command.accepted", "command.rejected"}


@then("these would be synced")
def would_sync(story: Story, datatable: list[list[str]]) -> None:
    found = story.last["result"]["assets"]
    said = [(item["asset"].upper(), ", ".join(stage["stage"] for stage in item["stages"])) for item in found]
    assert said == [(row["asset"], row["stages"]) for row in rows_of(datatable)]
    assert all(stage["args"][:2] == ["sh", "-euc"] for item in found for stage in item["stages"])


@then("these would be checked")
def would_check(story: Story, datatable: list[list[str]]) -> None:
    found = story.last["result"]["assets"]
    said = [(item["asset"].upper(), ", ".join(one["name"] for one in item["conditions"])) for item in found]
    assert said == [(row["asset"], row["checks"]) for row in rows_of(datatable)]


@then("nothing ran in the session, not even a check")
def nothing_ran(story: Story) -> None:
    """Look at the log: tools of the test's own apart, commands came and went and that was all."""
    kinds = {event["type"] for event in story.events()}
    assert kinds == {"command.accepted", "command.succeeded", "tool.started", "tool.finished"}
    assert story.recorder() == ""


@then(parsers.parse("the syncs began in the order {names}"))
def in_order(story: Story, names: str) -> None:
    assert [event["asset"] for event in story.events("sync.started")] == listed(names)


@then(parsers.parse('of the sync of A "{stages}" was done'))
def stages_done(story: Story, stages: str) -> None:
    wanted = stages.split(", ")
    steps = [event["data"]["name"] for event in story.events("sync.step_finished", "a")]
    assert steps == wanted
    assert story.exec("cat", "stages.a").split() == [stage for stage in wanted if stage != "run"]
    assert len(runs(story.recorder(), "a")) == wanted.count("run")


@then("the sync of A is cancelled")
def was_cancelled(story: Story) -> None:
    story.wait("sync.cancelled", "a")


@then("no sync of A came to its end")
def not_ended(story: Story) -> None:
    assert "end" not in story.recorder().split()


@then("all that was asked for comes to an end")
def all_end(stack: World, story: Story) -> None:
    assert len(story.sent) == UNENDED_MAX[LANE_WORK]
    assert {stack.ended(story.session, command)["status"] for command in story.sent} == {"succeeded"}


@then(parsers.parse("at most {limit:d} syncs ran at a time, and once {reached:d} did"))
def syncs_at_a_time(story: Story, limit: int, reached: int) -> None:
    lines = [line.split()[0] for line in story.recorder().splitlines()]
    most = _most(1 if word == "start" else -1 for word in lines)
    assert most == reached
    assert most <= limit


@then(parsers.parse("at most {limit:d} check ran at a time"))
def checks_at_a_time(story: Story, limit: int) -> None:
    assert _most(map(_change, story.events())) == limit


def _change(event: Event) -> int:
    return {"evaluation.started": 1, "evaluation.completed": -1, "evaluation.failed": -1}.get(event["type"], 0)


def _most(changes: Iterable[int]) -> int:
    """Return how many there were at the same time, from the changes in their order."""
    now = most = 0
    for change in changes:
        now += change
        most = max(most, now)
    return most


def test_the_command_line_prints_what_a_dry_run_says(stack: World, story: Story) -> None:
    story.assets = {"a": Made("a"), "b": Made("b", ["a"])}
    story.apply()
    words = [
        sys.executable,
        "-P",
        "-m",
        "setpoint.cli",
        "sync",
        "a+",
        "--stage",
        "run",
        "--dry-run",
        "-s",
        story.session,
    ]
    environment = {**measured(), "PATH": os.environ["PATH"], "HOME": str(stack.root), "LANG": "C.UTF-8"}
    environment |= {"SETPOINT_SERVER": stack.stack.server, "SETPOINT_API_KEY": stack.stack.api_key}
    table = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert [line.split()[:4] for line in table.splitlines()[1:3]] == [
        ["a", "run:", "sh", "-euc"],
        ["b", "run:", "sh", "-euc"],
    ]
    as_json = subprocess.run([*words, "-o", "json"], env=environment, capture_output=True, text=True, check=True).stdout
    assert [(item["asset"], item["sync"]) for item in json.loads(as_json)] == [("a", "make-a.txt"), ("b", "make-b.txt")]
