"""When syncs are stopped: failures, harm, suspensions, halts, locks; real daemons. More steps: conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from tests.acceptance.harness import World
from tests.acceptance.made import SPOILING, Made
from tests.acceptance.story import Story

scenarios("features/guardrails.feature")


@pytest.fixture
def other(stack: World) -> Iterator[Story]:
    """A second session of the same tenant."""
    told = Story(stack)
    yield told
    told.close()


@given("the sync of A destroys the other parts")
def spoiling(story: Story) -> None:
    story.steer(SPOILING, "a")


@given(parsers.parse('another session is syncing under the lock "{key}"'))
def syncing_elsewhere(other: Story, key: str) -> None:
    other.assets["z"] = Made("z", sync={"lockKey": key})
    other.steer("held", "z")
    other.apply()
    other.wait("sync.started", "z")


@when("the sync of the other session is let go")
def let_go_elsewhere(stack: World, other: Story) -> None:
    other.let("held", "z")
    stack.wait_ready(other.session)


@then(parsers.parse("the sync of A is skipped after {attempts:d} attempts"))
def skipped(story: Story, attempts: int) -> None:
    event = story.wait("sync.skipped", "a")
    assert (event["data"]["reason"], event["data"]["attempt"]) == ("lock", attempts)


@then("one sync ran at a time")
def one_at_a_time(story: Story) -> None:
    lines = [line.split() for line in story.recorder().splitlines()]
    assert [line[0] for line in lines] == ["start", "end"] * len(story.assets)
    assert all(first[2] == second[2] for first, second in zip(lines[::2], lines[1::2], strict=True))
