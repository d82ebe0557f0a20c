"""What a restart leaves as it was, on a stack of its own whose daemons are killed. More steps: conftest.py."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime

import pytest
from pytest_bdd import scenarios, then, when

from tests.acceptance.harness import World, world
from tests.acceptance.sentence import listed, steps
from tests.acceptance.story import Story

scenarios("features/restart.feature")


@pytest.fixture(scope="module")
def stack() -> Iterator[World]:
    """A stack whose daemons may be killed."""
    with world() as made:
        yield made


@when("the session's own process is killed and comes back")
def cell_killed(stack: World, story: Story) -> None:
    head = _head(stack, story)
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    (cell,) = [line.split()[0] for line in listed.splitlines() if f"setpoint: cell {story.session}" in line]
    os.kill(int(cell), signal.SIGKILL)
    stack.wait_type(story.session, "session.started", after=head)


@when("the cell host is killed and comes back")
def host_killed(stack: World, story: Story) -> None:
    head = _head(stack, story)
    stack.kill("celld")
    stack.restart("celld")
    stack.wait_type(story.session, "session.started", after=head)


def _head(stack: World, story: Story) -> int:
    story.killed_at = int(stack.api.session(story.session)["head_seq"])
    return story.killed_at


@then(steps("NAMES are Ready as they were, and nothing was done to them since"))
def as_they_were(stack: World, story: Story, names: str) -> None:
    for name in listed(names):
        assert story.asset(name)["known"] == "ready"
        assert stack.counts(story.session, name, story.killed_at) == (0, 0)


@then("the next check of A is due when it was")
def due_as_it_was(story: Story) -> None:
    """Compare what was written down before the kill with when the check began."""
    before = [event for event in story.stack.events(story.session) if event["seq"] <= story.killed_at]
    due = [event["data"]["next_due"] for event in before if event["type"] == "evaluation.completed"][-1]
    event = story.wait("evaluation.started", "a")
    assert datetime.fromisoformat(event["at"]) >= datetime.fromisoformat(due)
    assert event["data"]["why"] == "interval"
