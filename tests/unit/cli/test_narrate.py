"""Every event of the closed list has a line, and the ones a person waits for say what happened."""

from __future__ import annotations

import pytest

from setpoint.cli import narrate
from setpoint.contracts.event import TYPES


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_type_has_a_line_even_without_any_field(kind: str) -> None:
    colour, text = narrate.line({"seq": 7, "type": kind, "at": "2026-11-21T10:00:00.123456Z", "data": {}})
    assert colour
    assert "10:00:00.123" in text
    assert text.startswith("    7")


def test_a_drifted_verdict_names_the_condition_and_its_reason() -> None:
    status = {"state": "drifted", "reason": "'test' exited with code 1"}
    data = {"verdict": "Drifted", "results": [{"conditionName": "there", "status": status}]}
    assert narrate.sentence({"type": "evaluation.completed", "data": data})[1] == (
        "evaluated: Drifted (there: 'test' exited with code 1)"
    )


def test_a_condition_without_an_answer_says_why_and_so_does_its_evaluation() -> None:
    status = {"state": "unknown", "reason": "sales.db: there is no such file"}
    step = {"name": "rows", "exit_code": 2, "status": status}
    assert narrate.sentence({"type": "evaluation.step_finished", "data": step})[1] == (
        "rows: no answer (sales.db: there is no such file)"
    )
    failed = {"reason": "unknown", "results": [{"conditionName": "rows", "status": status}]}
    assert narrate.sentence({"type": "evaluation.failed", "data": failed})[1] == (
        "evaluation failed: unknown (rows: sales.db: there is no such file)"
    )


def test_ready_names_whom_it_triggers() -> None:
    assert narrate.sentence({"type": "asset.ready", "data": {"triggers": ["b", "c"]}})[1] == "Ready -> triggers b, c"


def test_a_failed_sync_says_when_it_is_tried_again() -> None:
    data = {"reason": "stage", "k": 2, "cooldown_until": "2026-11-21T10:01:00.000000Z"}
    text = narrate.sentence({"type": "sync.failed", "data": data})[1]
    assert "failure 2" in text
    assert "10:01:00" in text


def test_a_broken_lock_names_who_took_it_and_why() -> None:
    data = {"key": "warehouse", "by": "key k1", "reason": "it hangs"}
    said = narrate.sentence({"type": "lock.broken", "data": data})[1]
    assert said == "lock warehouse broken by key k1: it hangs"
