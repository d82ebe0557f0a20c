"""Commands: what each type takes, where a fault is, and which lane it goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setpoint.contracts import command
from setpoint.contracts.limits import LANE_CONTROL, LANE_WORK
from setpoint.contracts.problem import Problem

GOOD: list[tuple[str, dict[str, Any], command.Body]] = [
    ("apply", {"generation": {"resources": "r", "files": "f"}}, command.Apply(command.Generation("r", "f"))),
    ("evaluate", {}, command.Evaluate()),
    ("evaluate", {"select": ["a"]}, command.Evaluate(["a"])),
    ("sync", {"select": ["a"], "stages": ["pre"]}, command.Sync(["a"], ["pre"])),
    ("cancel", {"command_id": "c"}, command.Cancel(command_id="c")),
    ("cancel", {"asset": "a"}, command.Cancel(asset="a")),
    ("suspend", {"select": ["a"], "reason": "r"}, command.Suspend(["a"], "r")),
    ("resume", {"select": ["a"]}, command.Resume(["a"])),
    ("halt", {}, command.Halt()),
    ("unhalt", {}, command.Unhalt()),
    ("recover", {"reason": "mended"}, command.Recover("mended")),
    ("close", {}, command.Close()),
    ("tool", {"name": "uppercase", "args": {"text": "x"}}, command.Tool("uppercase", {"text": "x"})),
    ("tool", {"name": "list_files"}, command.Tool("list_files")),
    (
        "tool",
        {"name": "exec", "args": {"argv": ["ls"], "timeout_s": 5}},
        command.Tool("exec", {"argv": ["ls"], "timeout_s": 5}),
    ),
]

BAD: list[tuple[str, object, str]] = [
    ("apply", {}, "validation-failed"),
    ("apply", {"generation": {"resources": "r"}}, "validation-failed"),
    ("apply", {"generation": {"resources": "r", "files": "f"}, "force": True}, "unknown-field"),
    ("evaluate", {"select": "a"}, "validation-failed"),
    ("evaluate", [], "validation-failed"),
    ("evaluate", None, "validation-failed"),
    ("sync", {"select": []}, "validation-failed"),
    ("sync", {"select": ["a"], "stages": ["later"]}, "validation-failed"),
    ("cancel", {}, "validation-failed"),
    ("cancel", {"command_id": "c", "asset": "a"}, "validation-failed"),
    ("suspend", {"select": []}, "validation-failed"),
    ("resume", {"select": [1]}, "validation-failed"),
    ("halt", {"why": "x"}, "unknown-field"),
    ("tool", {"name": "rm"}, "validation-failed"),
    ("tool", {"name": "echo"}, "validation-failed"),
    ("tool", {"name": "echo", "args": {"text": 1}}, "validation-failed"),
    ("tool", {"name": "echo", "args": {"text": "x", "loud": True}}, "unknown-field"),
    ("tool", {"name": "list_files", "args": {"path": 1}}, "validation-failed"),
    ("tool", {"name": "exec", "args": {"argv": []}}, "validation-failed"),
    ("tool", {"name": "exec", "args": {"argv": [""]}}, "validation-failed"),
    ("tool", {"name": "exec", "args": {"argv": "ls"}}, "validation-failed"),
    ("tool", {"name": "exec", "args": {"argv": ["ls", 1]}}, "validation-failed"),
    *(
        ("tool", {"name": "exec", "args": {"argv": ["ls"], "timeout_s": t}}, "validation-failed")
        for t in (0, -1, 3601, True, "5", float("nan"))
    ),
    ("explode", {}, "validation-failed"),
    ("", {}, "validation-failed"),
]


@pytest.mark.parametrize(("kind", "payload", "body"), GOOD, ids=str)
def test_good_payloads(kind: str, payload: dict[str, Any], body: command.Body) -> None:
    assert command.parse_command(kind, payload) == body


@pytest.mark.parametrize(("kind", "payload", "code"), BAD, ids=str)
def test_bad_payloads(kind: str, payload: object, code: str) -> None:
    with pytest.raises(Problem) as refused:
        command.parse_command(kind, payload)
    assert refused.value.code == code


def test_a_notice_is_read_from_an_inbox_and_taken_from_no_client() -> None:
    payload = {"key": "k", "execution_id": "e", "by": "key 1", "reason": "r"}
    assert command.parse_row("lock_broken", payload) == command.LockBroken("k", "e", "key 1", "r")
    assert command.parse_row("halt", {}) == command.Halt()
    assert command.lane_of("lock_broken") == LANE_CONTROL
    for parse in (command.parse_command, command.parse_row):
        with pytest.raises(Problem):
            parse("lock_broken", {"key": "k"})
    with pytest.raises(Problem):
        command.parse_command("lock_broken", payload)


def test_every_type_has_a_good_example_and_a_lane() -> None:
    assert {kind for kind, _, _ in GOOD} == set(command.TYPES)
    control = {kind for kind in command.TYPES if command.lane_of(kind) == LANE_CONTROL}
    assert control == {"cancel", "suspend", "resume", "halt", "unhalt", "recover", "close"}
    assert {command.lane_of(kind) for kind in set(command.TYPES) - control} == {LANE_WORK}


@pytest.mark.parametrize(
    ("kind", "payload", "pointer"),
    [
        ("evaluate", {"select": "a"}, "/payload/select"),
        ("apply", {"generation": {"resources": 1, "files": "f"}}, "/payload/generation/resources"),
        ("explode", {}, "/type"),
    ],
)
def test_a_fault_says_where_it_is(kind: str, payload: object, pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        command.parse_command(kind, payload)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "args", "select", "argv", "x"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from([*command.TYPES, "nothing"]), JSON)
def test_any_json_is_a_body_or_a_problem(kind: str, payload: object) -> None:
    code = ""
    try:
        command.parse_command(kind, payload)
    except Problem as refused:
        code = refused.code
    assert code in ("", "validation-failed", "unknown-field")
