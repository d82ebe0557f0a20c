"""Sessions that sleep as soon as they may, on a stack of their own. More steps: conftest.py."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

import pytest
from pytest_bdd import parsers, scenarios, then, when

from tests.acceptance.harness import World, world
from tests.acceptance.story import Story

scenarios("features/sleep.feature")


@pytest.fixture(scope="module")
def stack() -> Iterator[World]:
    """A stack whose sessions fall asleep half a second after they have nothing to do."""
    with world(extra={"celld": {"SETPOINT_HIBERNATE_AFTER": "500ms"}}) as made:
        yield made


@when("the session has fallen asleep")
def fallen_asleep(stack: World, story: Story) -> None:
    stack.until(lambda: stack.api.session(story.session)["state"] == "sleeping", "the session sleeps")


@then("it can be read, and sleeps on")
def read(stack: World, story: Story) -> None:
    before = stack.api.session(story.session)
    assert {asset["known"] for asset in stack.assets(story.session).values()} == {"ready"}
    assert "Sleeping" in [reason["code"] for reason in story.reasons("a")]
    assert stack.events(story.session)[-1]["type"] == "session.hibernated"
    assert stack.api.session(story.session) == before
    stack.until(lambda: not _cells(story), "its process has ended")


@then(parsers.parse("each check of A was due when it began, and late by less than {seconds:f} seconds"))
def due(story: Story, seconds: float) -> None:
    checks = story.events("evaluation.completed", "a")
    assert len(checks) >= 3
    starts = {
        event["execution_id"]: datetime.fromisoformat(event["at"]).timestamp()
        for event in story.events("evaluation.started", "a")
    }
    late = [
        starts[later["execution_id"]] - datetime.fromisoformat(one["data"]["next_due"]).timestamp()
        for one, later in pairwise(checks)
    ]
    assert late and all(0 <= by < seconds for by in late), late


@then("the session slept between the checks")
def slept(story: Story) -> None:
    checks = [event["seq"] for event in story.events("evaluation.completed", "a")]
    naps = [event["seq"] for event in story.events("session.hibernated")]
    assert all(any(one < nap < later for nap in naps) for one, later in pairwise(checks))


def _cells(story: Story) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"setpoint: cell {story.session}" in line]
