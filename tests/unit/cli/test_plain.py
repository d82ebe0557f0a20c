"""What a tenant's command printed cannot steer the terminal of the person who looks at it."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.cli import context, explain, narrate, table
from setpoint.cli.main import print_problem
from setpoint.cli.plain import plain
from setpoint.contracts.problem import Fault, Problem

HOSTILE = "\x1b]0;owned\x07\x1b[2Ja\rb\x9bc\u202ed\x00\ud800\n[red]e[/]"


def test_control_and_direction_characters_are_shown_as_escapes() -> None:
    assert plain("\x1b[31m\u202e\x00\ud800\x9b") == "\\x1b[31m\\u202e\\x00\\ud800\\x9b"
    assert plain("ä → 日本 🙂 [x]") == "ä → 日本 🙂 [x]"
    assert plain("a\n\tb\r", keep_lines=True) == "a\n\tb\\r"
    assert plain("a\nb") == "a\\nb"


def test_an_event_is_one_harmless_line() -> None:
    data = {"name": HOSTILE, "reason": HOSTILE, "message": HOSTILE}
    for kind in ("tool.started", "sync.failed", "asset.suspended", "command.failed"):
        _, text = narrate.line({"seq": 1, "type": kind, "at": "2026-11-21T10:00:00.0Z", "asset": HOSTILE, "data": data})
        assert text.isprintable(), text


def test_an_explanation_is_harmless_and_a_line_stays_one() -> None:
    reason = {"code": "EvaluationFailing", "message": HOSTILE, "clears": HOSTILE, "command": HOSTILE}
    reason |= {"object": HOSTILE, "since": "2026-11-21T10:00:00.0Z", "next_check": HOSTILE}
    for reasons in ([reason], []):
        shown = explain.lines({"name": HOSTILE, "state": HOSTILE, "reasons": reasons})
        assert all(line.isprintable() for line in shown), shown


def test_a_problem_and_a_note_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_problem(Problem("validation-failed", HOSTILE, errors=[Fault("x", HOSTILE, hint=HOSTILE, file=HOSTILE)]))
    context.note(HOSTILE)
    said = capsys.readouterr().err
    assert not set(said) & {"\x1b", "\r", "\x9b", "\u202e", "\x00"}
    assert "[red]e[/]" in said


def test_a_table_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = {"why": HOSTILE, "names": [HOSTILE]}
    table.write([row], (("WHY", "why"), ("NAMES", "names")))
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 2
    assert said.replace("\n", "").isprintable()
