"""Reasons of several assets put together: order, bounds, and rows of other code versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec

from setpoint.contracts.explain import Code, Reason, compose, reasons_of, seen, turn_of

ROOT = Path(__file__).resolve().parents[3]
NOW = 1_800_000_000_000_000
LATER, EARLIER = "2030-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.000000Z"


def row(name: str, known: str = "ready", *reasons: Reason, **more: Any) -> dict[str, Any]:
    listed = msgspec.to_builtins(reasons)
    doc = {"name": name, "known": known, "state": known, "pending": {}, "blocked_by": [], "upstreams": []}
    return doc | {"reasons": listed} | more


def of(rows: list[dict[str, Any]], *session: Reason) -> list[tuple[str, str]]:
    """Explain the last row."""
    by_name = {one["name"]: seen(one) for one in rows}
    found = compose(by_name[rows[-1]["name"]], by_name.get, session, NOW)
    return [(reason.code, reason.object) for reason in found]


HALTED = Reason("Halted", "m", "", "c")


def test_every_code_has_a_row_in_the_docs() -> None:
    text = (ROOT / "docs" / "explain.md").read_text()
    assert [code for code in get_args(Code) if f"`{code}`" not in text] == []


def test_a_row_of_an_older_code_version_is_read_as_far_as_it_goes() -> None:
    assert reasons_of({}) == ()
    assert seen({"name": "a"}).at_fault
    assert of([{"name": "a", "known": "ready"}]) == []


def test_what_is_past_is_left_out_and_then_it_waits_for_its_turn() -> None:
    past = Reason("CooldownUntil", "m", "a", "c", next_check=EARLIER)
    coming = Reason("CooldownUntil", "m", "a", "c", next_check=LATER)
    assert of([row("a", "drifted", past)]) == [("ConcurrencyLimit", "a")]
    assert of([row("a", "drifted", coming)]) == [("CooldownUntil", "a")]


def test_a_halt_concerns_only_what_is_not_settled() -> None:
    assert of([row("a")], HALTED) == []
    assert of([row("a", "drifted")], HALTED) == [("Halted", "")]
    running = Reason("SyncRunning", "m", "a", "c")
    assert of([row("a", "drifted", running, state="syncing")], HALTED) == [("SyncRunning", "a")]
    looked_at = Reason("EvaluationRunning", "m", "a", "c")
    assert of([row("a", "ready", looked_at, state="evaluating")], HALTED) == [("EvaluationRunning", "a")]
    drifted = row("a", "drifted", looked_at, state="evaluating")
    assert of([drifted], HALTED) == [("Halted", ""), ("EvaluationRunning", "a")]
    assert of([drifted, row("b", blocked_by=["a"], upstreams=["a"])], HALTED)[0] == ("Halted", "")
    assert of([row("a", "drifted"), row("b", blocked_by=["a"], upstreams=["a"])], HALTED) == [
        ("Halted", ""),
        ("UpstreamDrifted", "a"),
    ]


def test_an_evaluation_that_is_owed_under_a_halt_waits_for_its_turn() -> None:
    pending = {"look": True, "sync": "none", "verify": False}
    owing = row("a", "drifted", turn_of("a", EARLIER), pending=pending)
    assert of([owing], HALTED) == [("Halted", ""), ("ConcurrencyLimit", "a")]


def test_whose_turn_is_still_to_come_waits_for_something_else() -> None:
    rests = Reason("CooldownUntil", "m", "a", "c", next_check=LATER)
    assert of([row("a", "drifted", rests, turn_of("a", LATER))]) == [("CooldownUntil", "a")]
    failing = Reason("EvaluationFailing", "m", "a", "c", next_check=LATER)
    waits = row("a", "drifted", failing, turn_of("a", EARLIER))
    assert of([waits]) == [("EvaluationFailing", "a"), ("ConcurrencyLimit", "a")]
    preparing = Reason("WorkspaceExclusive", "m", "", "c")
    assert of([waits], preparing) == [("WorkspaceExclusive", ""), ("EvaluationFailing", "a")]


def test_a_root_that_only_waits_for_its_timer_does_not_say_so() -> None:
    timer = Reason("WaitingForInterval", "m", "a", "c", next_check=LATER)
    off = Reason("AutoSyncOff", "m", "a", "c")
    assert of([row("a", "drifted", off, timer), row("b", "drifted", blocked_by=["a"], upstreams=["a"])]) == [
        ("AutoSyncOff", "a"),
        ("UpstreamDrifted", "a"),
    ]


def test_a_way_is_walked_once_however_many_lead_there() -> None:
    rows = [row("root", "not_evaluated")]
    for level in range(12):
        below = ["root"] if level == 0 else [f"l{level - 1}", f"r{level - 1}"]
        rows += [row(f"{side}{level}", "drifted", blocked_by=["root"], upstreams=below) for side in "lr"]
    rows.append(row("z", "drifted", blocked_by=["root"], upstreams=["l11", "r11"]))
    assert of(rows) == [("ConcurrencyLimit", "root"), ("UpstreamNotEvaluated", "root")]


def test_an_upstream_whose_row_is_not_there_is_passed_over() -> None:
    assert of([row("b", "drifted", blocked_by=["a"], upstreams=["a"])]) == [("ConcurrencyLimit", "b")]
