"""The seed's scenarios against real daemons, with their exact counts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from tests.acceptance.harness import World
from tests.acceptance.projects import asset, project, wait_for_file

scenarios("features/scenarios.feature")


@dataclass
class Story:
    """What a scenario has said so far: the edges, the intervals and the shell text of each sync."""

    upstreams: dict[str, list[str]] = field(default_factory=dict)
    intervals: dict[str, str] = field(default_factory=dict)
    syncs: dict[str, str] = field(default_factory=dict)
    session: str = ""

    def files(self) -> dict[str, str]:
        """Return the project of this story."""
        parts = [
            asset(name, ups, self.intervals.get(name, ""), self.syncs.get(name, ""))
            for name, ups in self.upstreams.items()
        ]
        return project(*parts)


@given("assets A, B and C, each made from the one before, and none of them is there", target_fixture="story")
def a_chain() -> Story:
    return Story(upstreams={"a": [], "b": ["a"], "c": ["b"]})


@given(
    "asset A, looked at every second, and assets B, C and D, each made from A, and none of them is there",
    target_fixture="story",
)
def a_fan() -> Story:
    return Story(upstreams={"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}, intervals={"a": "1s"})


@given(
    "asset A, looked at every second, assets B and C made from A, and X made from B and C, and none is there",
    target_fixture="story",
)
def a_diamond() -> Story:
    return Story(upstreams={"a": [], "b": ["a"], "c": ["a"], "x": ["b", "c"]}, intervals={"a": "1s"})


@given("the syncs of B, C and D each wait until all three have begun")
def side_by_side(story: Story) -> None:
    for name in ("b", "c", "d"):
        waits = "; ".join(wait_for_file(f"{other}.began") for other in ("b", "c", "d"))
        story.syncs[name] = f"touch {name}.began; {waits}"


@given(
    "the sync of C waits until that of X has begun, and the sync of X waits for the file that C's writes and for a word"
)
def overlapping(story: Story) -> None:
    story.syncs["c"] = wait_for_file("x.began")
    story.syncs["x"] = f"touch x.began; {wait_for_file('c.txt')}; {wait_for_file('word')}"


@when("the project is applied")
def applied(stack: World, story: Story, request: pytest.FixtureRequest) -> None:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
    story.session = stack.session(name)
    assert stack.apply(story.session, story.files())["status"] == "succeeded"


@when("the word is given once C is Ready")
def word_given(stack: World, story: Story) -> None:
    """End X's sync only after C's trigger is in the log: what the diamond's counts rest on (reconcile.md section 3)."""
    stack.wait_type(story.session, "asset.ready", "c")
    assert stack.tool(story.session, "exec", argv=["touch", "word"])["status"] == "succeeded"


@then("everything becomes Ready")
def all_ready(stack: World, story: Story) -> None:
    stack.wait_ready(story.session)


@then(parsers.re(r"(?P<name>[A-Z]) was evaluated (?P<evaluations>\d+) times? and synced (?P<syncs>\d+) times?"))
def counted(stack: World, story: Story, name: str, evaluations: str, syncs: str) -> None:
    assert stack.counts(story.session, name.lower()) == (int(evaluations), int(syncs))
