"""The steps of an execution: order, environment, time limits; and the tools as commands."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from celld.core.effect import start_run, steps_of, tool_argv
from celld.core.evaluate import status_of
from celld.core.state import Execution, empty
from setpoint.contracts.command import Tool
from setpoint.contracts.resource.model import CompiledSync, Condition, Settings, Stage
from setpoint.contracts.run import StepResult

SYNC = CompiledSync(
    "fix",
    run=Stage(("make", "it"), env=(("A", "1"),), timeout_s=7.0),
    pre=Stage(("prepare",)),
    post=Stage(("tell",)),
    timeout_s=60.0,
)
CONDITIONS = (Condition("c0", ("test", "-f", "x"), env=(("B", "2"),), timeout_s=3.0), Condition("c1", ("true",)))
SYNCING = Execution(
    "e-1",
    "sync",
    5,
    0,
    2,
    asset="a",
    stages=("pre", "run", "post"),
    sync=SYNC,
    conditions=CONDITIONS,
    settings=Settings(default_timeout_s=100.0, orphan_timeout_s=42.0),
)


def test_a_sync_runs_its_stages_and_then_all_conditions() -> None:
    steps = steps_of(empty("s-1"), SYNCING)
    assert [(step.index, step.kind, step.name) for step in steps] == [
        (0, "stage", "pre"),
        (1, "stage", "run"),
        (2, "stage", "post"),
        (3, "condition", "c0"),
        (4, "condition", "c1"),
    ]
    assert [step.timeout_s for step in steps] == [60.0, 7.0, 60.0, 3.0, 100.0]


def test_the_environment_of_a_step_is_its_own_and_then_what_is_injected() -> None:
    step = steps_of(empty("s-1"), SYNCING)[1]
    assert step.env == (
        ("A", "1"),
        ("SETPOINT_EXECUTION_ID", "e-1"),
        ("NAGI_EXECUTION_ID", "e-1"),
        ("SETPOINT_SESSION", "s-1"),
        ("SETPOINT_ASSET", "a"),
        ("SETPOINT_STAGE", "run"),
    )


def test_a_start_carries_its_place_and_the_orphan_timeout() -> None:
    effect = start_run(empty("s-1"), SYNCING, seq_offset=3)
    assert (effect.seq_offset, effect.seq, effect.generation, effect.orphan_timeout_s) == (3, 0, 2, 42.0)
    patient = replace(SYNCING, sync=replace(SYNC, orphan_timeout_s=7.0))
    assert start_run(empty("s-1"), patient).orphan_timeout_s == 7.0
    assert start_run(empty("s-1"), replace(SYNCING, sync=None)).orphan_timeout_s == 42.0


def run_tool(name: Any, args: dict[str, Any], cwd: Path) -> str:
    argv, _ = tool_argv(Tool(name, args))
    return subprocess.run(argv, capture_output=True, check=True, cwd=cwd, env={"PATH": "/usr/bin:/bin"}).stdout.decode()


@pytest.mark.parametrize("text", ["", "hello", "-n %s \\t $(id) 'q' \"d\"", "two\nlines\n", "a/b&c"])
def test_the_text_tools_say_exactly_what_they_are_given(text: str, tmp_path: Path) -> None:
    assert run_tool("echo", {"text": text}, tmp_path) == text
    assert run_tool("uppercase", {"text": text}, tmp_path) == text.upper()


def test_uppercase_knows_letters_beyond_ascii(tmp_path: Path) -> None:
    assert run_tool("uppercase", {"text": "grüße nadi"}, tmp_path) in ("GRÜSSE NADI", "GRÜßE NADI")


def test_list_files_lists_what_is_below_a_path_sorted(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name in ("b", "a", "d/c", "d/e/f"):
        (tmp_path / name).write_text("x")
    assert run_tool("list_files", {}, tmp_path) == "a\nb\nd/c\nd/e/f\n"
    assert run_tool("list_files", {"path": "d"}, tmp_path) == "c\ne/f\n"


def test_exec_is_taken_as_given() -> None:
    assert tool_argv(Tool("exec", {"argv": ["sleep", "1"], "timeout_s": 5})) == (("sleep", "1"), 5.0)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"exit_code": 0}, {"state": "ready"}),
        ({"exit_code": 1}, {"state": "drifted", "reason": "'test' exited with code 1"}),
        ({"signal": 9}, {"state": "drifted", "reason": "'test' was ended by signal 9"}),
        ({"error": "timeout"}, {"state": "unknown", "reason": "timeout"}),
        ({"error": "spawn", "detail": "no such file"}, {"state": "unknown", "reason": "spawn: no such file"}),
    ],
)
def test_what_a_step_says_about_its_condition(fields: dict[str, Any], status: dict[str, str]) -> None:
    assert status_of(Condition("c", ("test",)), StepResult(0, "condition", "c", 0, 0, **fields)) == status
