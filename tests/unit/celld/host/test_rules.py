"""The small pure rules of the shell: deaths, choice of a host, facts of a log."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celld.host.choice import Candidate, choose
from celld.host.deaths import Deaths, name_of
from celld.host.facts import Place, SessionFacts, Unfoldable
from setpoint.contracts import cell as frames
from setpoint.contracts.event import NewEvent
from setpoint.contracts.run import StepResult

INPUTS: list[frames.Input] = [
    frames.Owned("h"),
    frames.Delivered("c", 1, 1, "tool", {}),
    frames.Tick(),
    frames.Materialized(1, "h", "l", 1),
    frames.MaterializeFailed(1, "why"),
    frames.StepEnded("x", StepResult(0, "stage", "run", 1, 2)),
    frames.RunEnded("x", "completed"),
    frames.RunFound("x", "running"),
    frames.RunRefused("x", "invalid", ""),
    frames.LockBusy("x", "k", "h"),
]


def test_the_third_death_on_one_input_sets_it_aside() -> None:
    deaths = Deaths()
    assert [deaths.note("command c", at) for at in (0.0, 1.0, 2.0)] == ["again", "again", "quarantine"]
    assert deaths.note("command c", 3.0) == "again", "its count begins anew"


def test_deaths_on_different_inputs_are_counted_apart() -> None:
    deaths = Deaths()
    assert {deaths.note(f"command {n}", float(n)) for n in range(20)} == {"again"}


def test_the_input_that_begins_every_life_cannot_be_set_aside() -> None:
    deaths = Deaths()
    assert [deaths.note("owned", 0.0) for _ in range(3)][-1] == "fail"


def test_five_deaths_of_nobodys_in_ten_minutes_end_the_session() -> None:
    deaths = Deaths()
    assert [deaths.note(None, at * 100.0) for at in range(5)] == ["again"] * 4 + ["fail"]


def test_deaths_long_ago_do_not_count() -> None:
    deaths = Deaths()
    assert {deaths.note(None, at * 200.0) for at in range(30)} == {"again"}


def test_the_pause_grows_with_the_deaths_and_is_bounded() -> None:
    deaths = Deaths()
    pauses = []
    for n in range(8):
        deaths.note(f"command {n}", float(n))
        pauses.append(deaths.pause_s())
    assert pauses == sorted(pauses) and 0 < pauses[0] < 0.1 and pauses[-1] == 5.0


def test_every_input_has_a_name_of_its_own_kind() -> None:
    names = [name_of(one, 7) for one in INPUTS]
    assert len(set(names)) == len(names) - 1, "only a workspace's success and failure share one"
    assert name_of(frames.Tick(), 7) != name_of(frames.Tick(), 8)


def test_the_less_loaded_of_two_is_chosen() -> None:
    hosts = [Candidate("full", 9, 10), Candidate("idle", 0, 10)]
    assert {choose(hosts, (n, m)) for n in range(4) for m in range(4)} == {"idle"}


def test_the_avoided_host_is_taken_only_when_there_is_no_other() -> None:
    hosts = [Candidate("a", 0, 1), Candidate("b", 0, 1)]
    assert choose(hosts, (0, 0), avoid="a") == "b"
    assert choose(hosts[:1], (0, 0), avoid="a") == "a"
    assert choose([], (0, 0)) is None


@given(st.integers(1, 9), st.integers(0), st.integers(0))
def test_any_draw_gives_one_of_the_hosts(count: int, first: int, second: int) -> None:
    hosts = [Candidate(f"h{n}", n, 10) for n in range(count)]
    assert choose(hosts, (first, second)) in {host.host for host in hosts}


def test_the_worst_host_of_many_is_never_chosen() -> None:
    hosts = [Candidate(f"h{n}", n, 10) for n in range(5)]
    assert "h4" not in {choose(hosts, (n, m)) for n in range(5) for m in range(4)}


def test_facts_follow_the_log() -> None:
    facts = SessionFacts()
    place = {"generation": 1, "sandbox_host": "h", "ledger_id": "l", "workspace_no": 1}
    facts.note(NewEvent("resources.applied", {"generation": 1, "resources": "r", "files": "f"}), 5)
    facts.note(NewEvent("workspace.materialized", place), 6)
    assert (facts.place, facts.generation, facts.files) == (Place("h", "l", 1), 1, "f")
    assert facts.last_at == 6
    facts.note(NewEvent("halt.ended"), 3)
    assert facts.last_at == 6, "time does not go back"


def test_a_failed_session_stays_failed_until_it_is_recovered() -> None:
    facts = SessionFacts()
    facts.note(NewEvent("session.failed", {"reason": "why"}), 1)
    facts.note(NewEvent("lease.acquired", {}), 2)
    assert facts.failed == "why"
    facts.note(NewEvent("session.recovered"), 3)
    assert facts.failed is None


@pytest.mark.parametrize("end", ["sync.succeeded", "sync.failed", "sync.cancelled", "sync.outcome_unknown"])
def test_a_sync_changes_things_until_it_has_ended_and_an_evaluation_never_does(end: str) -> None:
    facts = SessionFacts()
    facts.note(NewEvent("sync.started", {}, execution_id="x"), 1)
    facts.note(NewEvent("evaluation.started", {}, execution_id="y"), 1)
    facts.note(NewEvent("tool.started", {}, execution_id="z"), 1)
    assert [facts.changes_things(one) for one in "xyz"] == [True, False, True]
    facts.note(NewEvent(end, {}, execution_id="x"), 2)
    facts.note(NewEvent("tool.finished", {}, execution_id="z"), 2)
    assert [facts.changes_things(one) for one in "xyz"] == [False, False, False]


REACHED = ("workspace.materialized", "run.adopted", "evaluation.completed", "sync.step_finished")
PLACE = {"sandbox_host": "s", "ledger_id": "l", "workspace_no": 2}


def passed_on(facts: SessionFacts, *hosts: str, mode: str = "move") -> None:
    for host in hosts:
        facts.note(NewEvent("lease.acquired", {"host": host, "incarnation": "i"}), 1)
        facts.note(NewEvent("lease.released", {"mode": mode}), 1)


def test_who_passed_the_session_on_has_tried_until_an_owner_reached_the_sandbox_host() -> None:
    facts = SessionFacts()
    passed_on(facts, "a", mode="drain")
    assert facts.tried == frozenset()
    passed_on(facts, "a", "b")
    assert facts.tried == {"a", "b"}
    other = SessionFacts()
    assert other.load(facts.dump())
    assert other.tried == {"a", "b"}
    for kind in REACHED:
        facts.note(NewEvent(kind, PLACE, execution_id="e"), 2)
        assert facts.tried == frozenset()
        passed_on(facts, "a")


def test_facts_go_through_a_snapshot_and_what_is_none_is_not_taken() -> None:
    facts = SessionFacts()
    facts.note(NewEvent("resources.applied", {"generation": 3, "resources": "r", "files": "f"}), 5)
    facts.note(NewEvent("sync.started", {}, execution_id="x"), 6)
    other = SessionFacts()
    assert other.load(facts.dump())
    assert (other.generation, other.files, other.failed, other.last_at) == (3, "f", None, 6)
    assert other.changes_things("x")
    assert not other.load(b"nonsense")
    assert (other.generation, other.last_at, other.changes_things("x")) == (0, 0, False)


@pytest.mark.parametrize(
    ("kind", "data"),
    [("workspace.materialized", {}), ("resources.applied", {"generation": 1}), ("resources.applied", [1])],
)
def test_an_event_that_is_not_what_its_type_says_is_no_fact(kind: str, data: object) -> None:
    facts = SessionFacts()
    with pytest.raises(Unfoldable, match=kind):
        facts.note(msgspec.structs.replace(NewEvent(kind, {}), data=data), 5)
    assert (facts.place, facts.generation, facts.last_at) == (None, 0, 5)
