"""The checkers of the simulation find what is planted: each doctored history breaks one rule, and its check says so."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from celld.core.evolve import evolve
from celld.core.state import State
from setpoint.contracts.event import COMMAND_ENDS, Event
from setpoint.verify import commands as command_rules
from setpoint.verify import log as log_rules
from setpoint.verify.log import SYNC_ENDS
from tests.sim import check_commands, check_fold, check_gate, check_guardrail, check_runs, check_triggers
from tests.sim.ground import Mark
from tests.sim.judge import violations
from tests.sim.plan import plan
from tests.sim.play import play
from tests.sim.story import Specs, Stories, Story, stories

SEEDS = range(200)


@functools.cache
def lived(seed: int) -> Stories:
    """Return the history of a schedule in which nothing is wrong."""
    return stories(play(plan(seed)))


@pytest.fixture
def told() -> Stories:
    """One of them, to be doctored."""
    return copy.deepcopy(lived(1))


def story_with(wanted: Callable[[Story], bool]) -> Story:
    """Return a copy of the first session in which there is what a test doctors."""
    return copy.deepcopy(next(story for seed in SEEDS for story in lived(seed).sessions if wanted(story)))


def has(kind: str, /, **data: Any) -> Callable[[Story], bool]:
    """Return a test for an event of a type with these fields."""
    return lambda story: any(is_(event, kind, **data) for event in story.log)


def is_(event: Event, kind: str, /, **data: Any) -> bool:
    return event.type == kind and all(event.data.get(key) == value for key, value in data.items())


def place(story: Story, kind: str, /, **data: Any) -> int:
    """Return where the first such event stands."""
    return next(n for n, event in enumerate(story.log) if is_(event, kind, **data))


def other(event: Event, **fields: Any) -> Event:
    """Return an event with some fields changed; ``data`` is added to what it has."""
    if "data" in fields:
        fields["data"] = event.data | fields["data"]
    return msgspec.structs.replace(event, **fields)


def test_nothing_is_wrong_with_what_was_not_doctored() -> None:
    assert [violations(lived(seed)) for seed in (1, 2)] == [[], []]


# The log


def test_a_row_that_is_missing_doubled_or_elsewhere_is_found(told: Stories) -> None:
    log = told.sessions[0].log
    assert list(log_rules.gaps([*log[:9], *log[10:]]))
    assert list(log_rules.gaps([*log[:9], log[8], *log[9:]]))
    assert list(log_rules.gaps([*log[:9], log[10], log[9], *log[11:]]))


def test_an_append_after_a_newer_epoch_is_found(told: Stories) -> None:
    log = told.sessions[0].log
    newer = (log[20].epoch[0], log[20].epoch[1] + 1)
    taken = other(log[20], type="lease.acquired", epoch=newer)
    assert list(log_rules.epochs([*log[:20], taken, *log[21:]]))
    assert list(log_rules.epochs([*log[:20], other(log[20], epoch=newer), *log[21:]]))
    assert list(log_rules.epochs([*log[:20], other(log[20], type="lease.acquired"), *log[21:]]))


def test_an_append_that_nobody_could_make_is_found(told: Stories) -> None:
    log = told.sessions[0].log
    assert list(log_rules.owners([*log[:20], other(log[20], type="lease.released"), *log[21:]]))


@pytest.mark.parametrize("started", ["sync.started", "evaluation.started"])
def test_an_end_too_many_or_too_few_is_found(started: str) -> None:
    story = story_with(has(started))
    first = place(story, started)
    run = story.log[first].execution_id
    family = started.split(".")[0]
    ends = {f"{family}.{word}" for word in ("succeeded", "failed", "completed", "cancelled", "outcome_unknown")}
    end = next(n for n, event in enumerate(story.log) if event.execution_id == run and event.type in ends)
    assert list(log_rules.executions([*story.log[: end + 1], story.log[end], *story.log[end + 1 :]]))
    assert list(log_rules.executions([*story.log[:end], *story.log[end + 1 :]]))
    assert list(log_rules.executions([*story.log, story.log[first]]))
    assert list(log_rules.executions([*story.log[:first], *story.log[first + 1 :]]))


def test_a_command_that_ends_twice_or_was_never_accepted_is_found(told: Stories) -> None:
    log = told.sessions[0].log
    end = next(event for event in log if event.type in COMMAND_ENDS)
    accepted = next(n for n, event in enumerate(log) if event.type == "command.accepted")
    assert list(command_rules.ends([*log, end]))
    assert list(command_rules.ends([*log[:accepted], *log[accepted + 1 :]]))
    assert list(command_rules.ends([*log, log[accepted]]))


def test_a_sync_over_another_is_found() -> None:
    story = story_with(has("sync.started"))
    first = place(story, "sync.started")
    again = other(story.log[first], execution_id="another")
    assert list(log_rules.overlaps([*story.log[: first + 1], again, *story.log[first + 1 :]]))


# The clients


def test_a_promise_that_was_not_kept_is_found(told: Stories) -> None:
    post = next(post for post in told.posts if post.status == "ok")
    lost = copy.deepcopy(told)
    del lost.commands[post.command_id]
    assert list(check_commands.promises(lost))
    for story in told.sessions:
        story.log = [event for event in story.log if event.command_id != post.command_id]
    assert list(check_commands.promises(told))
    assert list(check_commands.ends(told))


def test_a_command_that_nobody_posted_is_found(told: Stories) -> None:
    told.commands["stranger"] = told.sessions[0].session
    assert list(check_commands.promises(told))


def test_what_is_kept_of_a_refused_request_is_found(told: Stories) -> None:
    post = next(post for post in told.posts if post.status == "ok")
    post.status = "closed"
    assert list(check_commands.refusals(told))


def test_a_request_that_had_effect_twice_is_found(told: Stories) -> None:
    post = next(post for post in told.posts if post.status == "ok")
    post.attempts.append("again")
    told.commands["again"] = post.session
    assert list(check_commands.refusals(told))


def test_a_key_that_means_two_things_is_found(told: Stories) -> None:
    first, second = [post for post in told.posts if post.status == "ok"][:2]
    second.client, second.key = first.client, first.key
    assert list(check_commands.keys(told))
    second.status, second.fingerprint = "mismatch", first.fingerprint
    assert list(check_commands.keys(told))


def test_promises_kept_in_another_order_are_found() -> None:
    for seed in SEEDS:
        told = copy.deepcopy(lived(seed))
        by_lane: dict[tuple[str, str, int], list[str]] = {}
        for post in sorted(told.posts, key=lambda post: post.ended or 0):
            if post.status == "ok":
                by_lane.setdefault((post.client, post.session, post.lane), []).append(post.command_id)
        pair = next((ids for ids in by_lane.values() if len(ids) > 1), None)
        if pair is None:
            continue
        swapped = {pair[0]: pair[-1], pair[-1]: pair[0]}
        for story in told.sessions:
            story.log = [
                other(event, command_id=swapped.get(event.command_id or "", event.command_id)) for event in story.log
            ]
        assert list(check_commands.order(told))
        return
    raise AssertionError("no client of these seeds did two things")


def test_a_command_that_never_ends_is_found(told: Stories) -> None:
    story = told.sessions[0]
    story.log = [event for event in story.log if event.type not in COMMAND_ENDS]
    assert list(check_commands.ends(told))


# The recorder


def stages_of(story: Story) -> list[Mark]:
    return [mark for mark in story.marks if mark.kind == "stage"]


def test_two_syncs_of_an_asset_at_once_are_found() -> None:
    story = story_with(lambda story: len(stages_of(story)) > 3)
    mark = stages_of(story)[0]
    twin = copy.copy(mark)
    twin.run_id = "another"
    story.marks.append(twin)
    assert list(check_runs.overlaps(story))
    assert list(check_runs.intents(story))


def test_stages_out_of_order_twice_or_after_a_failure_are_found() -> None:
    def two(story: Story) -> bool:
        runs = [mark.run_id for mark in stages_of(story)]
        return len(runs) > len(set(runs))

    story = story_with(two)
    runs = [mark.run_id for mark in stages_of(story)]
    run = next(run for run in runs if runs.count(run) > 1)
    first, second = [mark for mark in stages_of(story) if mark.run_id == run][:2]
    place_, second.place = second.place, first.place
    assert list(check_runs.stages(story))
    second.place, first.how = place_, "exit 1"
    assert list(check_runs.stages(story))
    assert list(check_runs.successes(story))


def test_a_sync_that_no_event_started_is_found() -> None:
    story = story_with(lambda story: bool(stages_of(story)))
    run = stages_of(story)[0].run_id
    story.log = [event for event in story.log if event.execution_id != run]
    assert list(check_runs.intents(story))


def test_a_workspace_given_up_as_soon_as_it_was_made_is_found() -> None:
    story = story_with(has("workspace.materialized"))
    n = place(story, "workspace.materialized")
    made = story.log[n]
    given = other(made, type="workspace.lost", data={"as_of_seq": 0})
    story.log.insert(n + 1, other(given, data={"sandbox_host": made.data["sandbox_host"]}))
    assert list(check_runs.workspaces(story))


# The gate, the guardrail, the triggers


def gated_start(story: Story) -> tuple[int, str] | None:
    """Return where a drift sync starts below an asset with conditions, and that asset."""
    specs = Specs(story)
    for n, event in enumerate(story.log):
        specs.feed(event)
        if is_(event, "sync.started", kind="drift") and (above := specs.above(event.asset or "")):
            return n, above[0]
    return None


def test_a_sync_below_a_drifted_asset_is_found() -> None:
    story = story_with(lambda story: gated_start(story) is not None)
    found = gated_start(story)
    assert found is not None
    n, above = found
    verdict = max(m for m in range(n) if is_(story.log[m], "evaluation.completed") and story.log[m].asset == above)
    story.log[verdict] = other(story.log[verdict], data={"verdict": "drifted"})
    assert list(check_gate.gate(story))


def test_an_evaluation_below_a_drifted_asset_is_found() -> None:
    def below(story: Story) -> tuple[int, str] | None:
        known = check_gate.Known(story)
        for n, event in enumerate(story.log):
            initial = is_(event, "evaluation.started", why="initial") and not known.is_asked(event.asset or "")
            if initial and (above := known.specs.above(event.asset or "")):
                return n, above[0]
            known.feed(event)
        return None

    story = story_with(lambda story: below(story) is not None)
    found = below(story)
    assert found is not None
    n, above = found
    story.log = [
        other(event, data={"verdict": "drifted"})
        if m < n and event.type == "evaluation.completed" and event.asset == above
        else event
        for m, event in enumerate(story.log)
    ]
    assert list(check_gate.gate(story))


@pytest.mark.parametrize("kind", ["asset.suspended", "halt.started"])
def test_a_sync_of_what_is_stopped_is_found(kind: str) -> None:
    story = story_with(has("sync.started", kind="drift"))
    n = place(story, "sync.started", kind="drift")
    story.log.insert(n, other(story.log[n], type=kind, data={"reason": "", "by": "user"}))
    assert list(check_gate.stops(story))


def test_a_suspension_that_no_rule_asks_for_is_found() -> None:
    story = story_with(has("evaluation.completed"))
    n = place(story, "evaluation.completed")
    stop = other(story.log[n], type="asset.suspended", data={"reason": "3 consecutive", "by": "guardrail"})
    story.log.insert(n + 1, stop)
    assert list(check_guardrail.check(story))


def test_a_suspension_that_is_missing_is_found() -> None:
    story = story_with(has("asset.suspended", by="guardrail"))
    del story.log[place(story, "asset.suspended", by="guardrail")]
    assert list(check_guardrail.check(story))


def test_a_failure_counted_wrong_is_found() -> None:
    story = story_with(has("sync.failed"))
    n = place(story, "sync.failed")
    story.log[n] = other(story.log[n], data={"k": story.log[n].data["k"] + 1})
    assert list(check_guardrail.check(story))


def test_a_direct_sync_that_no_trigger_asks_for_is_found() -> None:
    story = story_with(has("sync.requested", kind="drift"))
    n = place(story, "sync.requested", kind="drift")
    story.log[n] = other(story.log[n], data={"kind": "direct"})
    assert list(check_triggers.check(story))


def test_a_second_sync_for_a_trigger_that_was_subsumed_is_found() -> None:
    def subsumed(story: Story) -> tuple[int, str] | None:
        triggers, asset, run = check_triggers.Triggers(story), "", ""
        for n, event in enumerate(story.log):
            list(triggers.feed(event))
            if triggers.met and triggers.met[-1] == "sync subsumed" and not asset:
                asset, run = event.asset or "", event.execution_id or ""
            if asset and event.execution_id == run and event.type in SYNC_ENDS and not triggers.pending(asset):
                return n, asset
        return None

    story = story_with(lambda story: subsumed(story) is not None)
    found = subsumed(story)
    assert found is not None
    n, asset = found
    last = story.log[n]
    fields = {"kind": "direct", "pair": 0, "stages": ["run"], "whole": True, "takes_direct": True}
    again = Event(last.seq + 1, "sync.requested", last.at, last.session_id, last.epoch, fields, asset=asset)
    assert any("no trigger asks for" in line for line in check_triggers.check(story)) is False
    story.log.insert(n + 1, again)
    assert any("no trigger asks for" in line for line in check_triggers.check(story))


def test_a_trigger_that_is_lost_is_found() -> None:
    def triggered(story: Story) -> str | None:
        specs = Specs(story)
        for event in story.log:
            specs.feed(event)
        closed = any(event.type == "session.closed" for event in story.log)
        docs = story.docs
        names = [
            name
            for name, spec in specs.assets.items()
            if spec.auto_sync_on_drift and specs.wanted(name) is not None and not docs[name]["suspended"]
        ]
        return None if closed or not names else names[0]

    story = story_with(lambda story: triggered(story) is not None)
    last = story.log[-1]
    story.log.append(
        Event(last.seq + 1, "asset.ready", last.at, last.session_id, last.epoch, {"triggers": [triggered(story)]})
    )
    assert list(check_triggers.check(story))


# The fold and the end


def test_a_projection_that_is_not_the_fold_is_found() -> None:
    story = story_with(lambda story: len(story.docs) > 1)
    name = next(name for name in story.docs if name)
    story.docs[name] = {**story.docs[name], "failures": 17}
    assert list(check_fold.projection(story))
    del story.docs[name]
    assert list(check_fold.projection(story))


def test_a_fold_that_looks_at_the_time_is_found() -> None:
    story = story_with(has("evaluation.completed"))

    def by_the_clock(state: State, event: Event) -> State:
        if event.type == "halt.started" or (event.type == "asset.ready" and event.at > 1_800_000_000_000_000):
            event = other(event, data={"triggers": []})
        if event.type == "evaluation.completed" and event.at > 1_800_000_000_000_000:
            event = other(event, data={"verdict": "drifted"})
        return evolve(state, event)

    assert not list(check_fold.times(story))
    assert list(check_fold.times(story, by_the_clock))


def test_an_asset_that_is_stuck_falsely_ready_or_unowned_is_found() -> None:
    story = story_with(lambda story: any(doc.get("known") == "ready" for doc in story.docs.values()))
    name = next(name for name, doc in story.docs.items() if doc.get("known") == "ready" and doc.get("last_evaluation"))
    assert list(check_fold.rest(story, owned=False))
    truth = dict(story.truth)
    story.truth |= {key: False for key in story.truth if key[0] == name}
    assert list(check_fold.rest(story, owned=True))
    story.truth = truth
    story.docs[name] = {**story.docs[name], "known": "drifted", "state": "drifted", "reasons": []}
    assert list(check_fold.rest(story, owned=True))
