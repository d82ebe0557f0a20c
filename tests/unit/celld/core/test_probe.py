"""SQL and Freshness conditions in the core: the step that asks, and what its answer means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from celld.core.effect import steps_of
from celld.core.evaluate import status_of
from celld.core.state import Execution, empty
from setpoint.contracts.probe import DRIFTED, READY, UNKNOWN, Probe
from setpoint.contracts.resource.model import Condition, Settings
from setpoint.contracts.run import OutputRef, Step, StepResult

PROBE = Probe("sqlite", "sales.db", "SELECT true", 60.0)
CONDITION = Condition("fresh", (), kind="Freshness", timeout_s=3.0, probe=PROBE)


def said(text: str, **fields: Any) -> dict[str, str]:
    """Return the status of a probe that wrote ``text`` and ended like this."""
    result = StepResult(0, "condition", "fresh", 0, 0, stdout=OutputRef(tail=text), **fields)
    return status_of(CONDITION, result)


def test_a_probe_is_a_step_without_a_command() -> None:
    run = Execution("e-1", "evaluation", 5, 0, 2, asset="a", conditions=(CONDITION,), settings=Settings())
    (step,) = steps_of(empty("s-1"), run)
    assert (step.argv, step.probe, step.timeout_s, step.kind) == ((), PROBE, 3.0, "condition")


def test_a_command_has_no_probe() -> None:
    conditions = (Condition("c", ("true",)),)
    run = Execution("e-1", "evaluation", 5, 0, 2, asset="a", conditions=conditions, settings=Settings())
    (step,) = steps_of(empty("s-1"), run)
    assert (step.argv, step.probe) == (("true",), None)


def test_its_exit_code_is_the_verdict_and_its_last_line_the_reason() -> None:
    assert said("", exit_code=READY) == {"state": "ready"}
    assert said("condition returned false\n", exit_code=DRIFTED) == {
        "state": "drifted",
        "reason": "condition returned false",
    }
    assert said("noise\nno such table: t\n\n", exit_code=UNKNOWN) == {"state": "unknown", "reason": "no such table: t"}


def test_a_drift_without_a_reason_is_none() -> None:
    """An interpreter that cannot start exits with 1 and writes nothing on stdout: that must never start a sync."""
    result = StepResult(0, "condition", "fresh", 0, 0, exit_code=1, stderr=OutputRef(tail="a\nno module\n"))
    assert status_of(CONDITION, result) == {"state": "unknown", "reason": "the probe ended with code 1: no module"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"exit_code": 137}, "the probe ended with code 137"),
        ({"exit_code": 3}, "the probe ended with code 3"),
        ({"signal": 11}, "the probe was killed"),
        ({"error": "timeout", "detail": "not done after 3 s"}, "timeout: not done after 3 s"),
        ({"error": "spawn", "detail": "cannot be started"}, "spawn: cannot be started"),
        ({"error": "cancelled"}, "cancelled"),
    ],
)
def test_every_other_end_is_unknown(fields: dict[str, Any], reason: str) -> None:
    assert said("", **fields) == {"state": "unknown", "reason": reason}


def test_a_reason_is_bounded() -> None:
    assert len(said("x" * 5000, exit_code=DRIFTED)["reason"]) == 200


def test_a_step_and_a_condition_without_a_probe_are_written_as_they_always_were() -> None:
    """Hosts and sets of the version before know no probe: nothing changes for them, and no digest does."""
    for value in (Step(0, "condition", "c", ("true",), 1.0), Condition("c", ("true",))):
        assert b"probe" not in msgspec.json.encode(value)
    older = msgspec.json.decode(b'{"index":0,"kind":"tool","name":"t","argv":["true"],"timeout_s":1.0}', type=Step)
    assert older.probe is None
