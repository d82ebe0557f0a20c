"""What every feature may say: the steps they share, one running stack, and a story for each scenario.

A step is a sentence of a person who works with the data: an asset is a file, it is there or it is lost. How that is
done is in made.py and story.py. Steps of one feature alone are in the module that binds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from pytest_bdd import given, parsers, then, when

from tests.acceptance.harness import World, world
from tests.acceptance.made import Made
from tests.acceptance.sentence import listed, rows_of, steps
from tests.acceptance.story import Story

STEERED = {"held back": "held", "broken": "failing", "without effect": "idle"}
TIMES = {"once": 1, "twice": 2, "three times": 3, "four times": 4}
_FIELDS = {"checked every": "interval", "fresh for": "evaluateCacheTtl"}


@pytest.fixture(scope="session")
def stack() -> Iterator[World]:
    """A stack of one host each, shared by every test that leaves it as it found it."""
    with world() as made:
        yield made


@pytest.fixture
def story(stack: World) -> Iterator[Story]:
    """The scenario's session; it is closed afterwards, so that its timers trouble nobody."""
    told = Story(stack)
    yield told
    told.close()


# How things stand


@given("the assets")
def these_assets(story: Story, datatable: list[list[str]]) -> None:
    for row in rows_of(datatable):
        name = row["asset"].lower()
        made = Made(name, listed(row.get("made from", "")))
        made.condition = {field: row[word] for word, field in _FIELDS.items() if row.get(word)}
        made.labels = dict(label.split("=") for label in row.get("labels", "").split())
        if row.get("by itself") == "no":
            made.spec["autoSync"] = False
        if row.get("at first") == "no checks":
            made.parts = []
        elif row.get("at first", "there") == "there":
            for path in made.paths():
                story.put(path)
        story.assets[name] = made


@given("the settings")
def these_settings(story: Story, datatable: list[list[str]]) -> None:
    story.settings |= {key: int(value) for key, value in datatable}


@given(steps(r"the syncs? of NAMES (is|are) (?P<how>held back|broken|without effect)"))
@when(steps(r"the syncs? of NAMES (is|are) (?P<how>held back|broken|without effect)"))
def steered(story: Story, names: str, how: str) -> None:
    for name in listed(names):
        story.steer(STEERED[how], name)


@given(steps(r"the syncs of NAMES share the lock \"(?P<key>[^\"]+)\""))
@given(steps(r"the sync of NAMES needs the lock \"(?P<key>[^\"]+)\""))
def locked(story: Story, names: str, key: str) -> None:
    for name in listed(names):
        story.assets[name].sync["lockKey"] = key


@given(steps(r'NAMES has the parts "(?P<parts>[^"]+)", of which ("(?P<there>[^"]+)"|none) is there'))
def parted(story: Story, names: str, parts: str, there: str | None) -> None:
    story.assets[names.lower()].parts = parts.split(", ")
    for part in there.split(", ") if there else ():
        story.put(f"{names.lower()}.{part}")


@given(steps(r"NAMES waits? until everything above is done"))
def patient(story: Story, names: str) -> None:
    for name in listed(names):
        story.assets[name].spec["upstreamPolicy"] = "all"


@given("the project is applied and everything becomes Ready")
def applied_and_ready(stack: World, story: Story) -> None:
    story.apply()
    stack.wait_ready(story.session)
    story.begin()


# What happens


@when("the project is applied")
@when("the project is applied again")
def applied(story: Story) -> None:
    story.apply()


@when(steps(r"NAMES (is|are) lost"))
def lost(story: Story, names: str) -> None:
    story.exec("rm", *[path for name in listed(names) for path in story.assets[name].paths()])


@when(steps(r"NAMES (is|are) put back by hand"))
def put_back(story: Story, names: str) -> None:
    story.exec("touch", *[path for name in listed(names) for path in story.assets[name].paths()])


@when(steps(r"somebody has NAMES checked"))
def checked(story: Story, names: str) -> None:
    story.command("evaluate", select=listed(names))


@when(steps(r"the syncs? of NAMES (is|are) let go"))
def let_go(story: Story, names: str) -> None:
    for name in listed(names):
        story.let("held", name)


@when(steps(r"the syncs? of NAMES (is|are) repaired"))
def repaired(story: Story, names: str) -> None:
    for name in listed(names):
        for mark in STEERED.values():
            story.let(mark, name)


@when(steps(r"the syncs? of NAMES (has|have) begun"))
@then(steps(r"the syncs? of NAMES begins?"))
def begun(story: Story, names: str) -> None:
    for name in listed(names):
        story.wait("sync.started", name)


@when(parsers.re(r"(?P<many>one|two) of the syncs (has|have) begun"))
def so_many_begun(stack: World, story: Story, many: str) -> None:
    stack.until(lambda: len(story.events("sync.started")) == {"one": 1, "two": 2}[many], f"{many} syncs have begun")


@when(steps(r"NAMES (has|have) become Ready"))
def became_ready(story: Story, names: str) -> None:
    for name in listed(names):
        story.wait("asset.ready", name)


@when(steps(r"NAMES has become Ready (?P<times>twice|three times)"))
def became_ready_again(story: Story, names: str, times: str) -> None:
    story.wait("asset.ready", names.lower(), TIMES[times])


@when(steps(r"NAMES has been checked (?P<times>once|twice|three times|four times)"))
def was_checked(story: Story, names: str, times: str) -> None:
    story.wait("evaluation.completed", names.lower(), TIMES[times])


@when("the session is halted")
def halted(story: Story) -> None:
    assert story.command("halt", reason="maintenance")["status"] == "succeeded"


@when("the halt is lifted")
def unhalted(story: Story) -> None:
    assert story.command("unhalt")["status"] == "succeeded"


@when(steps(r"somebody (?P<what>suspends|resumes|syncs) NAMES"))
def by_hand(story: Story, what: str, names: str) -> None:
    story.command(what.removesuffix("s"), select=listed(names))


# What can be seen


@then("everything becomes Ready")
def all_ready(stack: World, story: Story) -> None:
    stack.wait_ready(story.session)


@then(steps(r"NAMES becomes? (?P<state>Ready|Drifted|suspended)"))
def becomes(story: Story, names: str, state: str) -> None:
    for name in listed(names):
        story.until(name, lambda asset: asset["state"] == state.lower(), f"becomes {state}")


@then(steps(r"NAMES is still known as (?P<known>Ready|Drifted)"))
def still_known(story: Story, names: str, known: str) -> None:
    assert story.asset(names.lower())["known"] == known.lower()


@then(steps(r"NAMES is (?P<no>not )?suspended(?: by the (?P<by>\w+)(?: because of \"(?P<reason>[^\"]*)\")?)?"))
def suspended(story: Story, names: str, no: str | None, by: str | None, reason: str | None) -> None:
    found = story.asset(names.lower())["suspended"]
    assert (found is None) == bool(no), found
    if by:
        assert (found["by"], reason or found["reason"]) == (by, found["reason"])


@then(steps(r"the first reason for NAMES is (?P<code>\w+)(?: of (?P<whose>[A-Z]))?"))
def first_reason(stack: World, story: Story, names: str, code: str, whose: str | None) -> None:
    name = names.lower()
    wanted = (code, "" if code == "Halted" else (whose or name).lower())

    def found() -> bool:
        reasons = story.reasons(name)
        return bool(reasons) and (reasons[0]["code"], reasons[0]["object"]) == wanted

    stack.until(found, f"the first reason for {name} is {wanted}; now it is {story.reasons(name)[:1]}")


@then("A has not failed")
def not_failed(story: Story) -> None:
    assert story.asset("a")["failures"] == 0
    assert not story.events("sync.failed")


@then(parsers.re(r"each sync of A waited at least (?P<seconds>\d+) seconds? after the one before had failed"))
def waited(story: Story, seconds: str) -> None:
    failures = [datetime.fromisoformat(event["at"]) for event in story.events("sync.failed", "a")]
    starts = [datetime.fromisoformat(event["at"]) for event in story.events("sync.started", "a")][1:]
    gaps = [(start - failed).total_seconds() for failed, start in zip(failures, starts, strict=False)]
    assert gaps
    assert min(gaps) >= float(seconds), gaps


@then(parsers.re(r"the other two wait for (?P<what>their turn|the lock)"))
def others_wait(stack: World, story: Story, what: str) -> None:
    wanted = {"their turn": "ConcurrencyLimit", "the lock": "LockHeld"}[what]
    others = story.assets.keys() - {event["asset"] for event in story.events("sync.started")}
    assert len(others) == 2

    def all_wait() -> bool:
        return all([reason["code"] for reason in story.reasons(name)] == [wanted] for name in others)

    stack.until(all_wait, f"{sorted(others)} wait for {what}")


@then("this was done")
def counted(stack: World, story: Story, datatable: list[list[str]]) -> None:
    """Compare completed evaluations and started syncs with a table, and the log with what the syncs wrote down."""
    rows = rows_of(datatable)
    wanted = {row["asset"].lower(): (int(row["checks"]), int(row["syncs"])) for row in rows}
    assert {name: stack.counts(story.session, name, story.since) for name in wanted} == wanted
    story.check_recorder()


@then(steps(r"nothing was done to NAMES"))
def untouched(story: Story, names: str) -> None:
    done = [event for name in listed(names) for event in story.events(name=name)]
    assert not [event for event in done if event["type"] in ("evaluation.completed", "sync.started")]
