"""What a person reads of conditions that have no answer: in the status of an asset and in its history."""

from __future__ import annotations

from typing import Any

from setpoint.cli.asset import row
from setpoint.cli.past import explained

UNKNOWN: dict[str, Any] = {"name": "rows", "before": "ready", "after": "unknown", "reason": "no such table: t"}


def test_the_status_of_an_asset_says_why_there_is_no_verdict() -> None:
    failing = {"code": "EvaluationFailing", "message": "the last evaluation of a came to no clear verdict: rows: gone"}
    waiting = {"code": "WaitingForInterval", "message": "a is looked at next at 10:00"}
    shown = row({"name": "a", "state": "unknown", "reasons": [failing, waiting]})
    assert shown["why"] == failing["message"]
    assert row({"name": "a", "state": "ready", "reasons": [waiting]})["why"] == ""


def test_the_history_of_an_asset_says_which_condition_had_no_answer() -> None:
    holds = {"name": "there", "before": "ready", "after": "ready"}
    assert explained({"reason": "unknown", "conditions": [holds, UNKNOWN]}) == "unknown: rows: no such table: t"
    assert explained({"reason": "unknown", "conditions": []}) == "unknown"
    assert explained({"reason": "superseded", "conditions": [UNKNOWN]}) == "superseded"
    assert explained({}) == ""


def test_history_says_which_condition_drifted_and_what_it_said() -> None:
    drifted = {"name": "fresh", "after": "drifted", "reason": "'test' exited with code 1"}
    entry = {"verdict": "drifted", "conditions": [{"name": "there", "after": "ready"}, drifted]}
    assert explained(entry) == "fresh: 'test' exited with code 1"
    assert explained(entry | {"reason": "stage"}) == "stage: fresh: 'test' exited with code 1"
    assert explained(entry | {"verdict": "ready"}) == ""
