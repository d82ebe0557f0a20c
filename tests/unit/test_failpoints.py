"""Failpoints: how they are read, that they act once and on their turn, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from setpoint.failpoints import FailpointHit, Failpoints, parse


def test_the_setting_is_a_list_of_names_actions_and_turns() -> None:
    assert parse("") == {}
    assert parse(" a.b=kill ; c=stop@3;d=error@1; ") == {"a.b": ("kill", 1), "c": ("stop", 3), "d": ("error", 1)}


@pytest.mark.parametrize("text", ["a", "a=", "a=explode", "a=kill@x", "a=kill@-1", "a=kill@1.5"])
def test_a_malformed_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SETPOINT_FAILPOINTS"):
        parse(text)


def test_it_acts_on_its_turn_only_and_leaves_a_mark_first(tmp_path: Path) -> None:
    points = Failpoints({"SETPOINT_FAILPOINTS": "here=error@3", "SETPOINT_FAILPOINTS_DIR": str(tmp_path)})
    for turn in range(1, 6):
        if turn == 3:
            assert not list(tmp_path.iterdir())
            with pytest.raises(FailpointHit, match="here"):
                points.hit("here")
            assert (tmp_path / "here").read_text() == str(os.getpid())
        else:
            points.hit("here")
    points.hit("elsewhere")


def test_nothing_armed_does_nothing() -> None:
    points = Failpoints({})
    points.hit("anything")
    assert points.armed == {}


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_a_process_dies_or_freezes_exactly_there(action: str, number: signal.Signals) -> None:
    script = "from setpoint import failpoints; print('before', flush=True); failpoints.hit('x'); print('after')"
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        env={"SETPOINT_FAILPOINTS": f"x={action}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if action == "stop":
            assert os.WIFSTOPPED(status)
            assert os.WSTOPSIG(status) == number
            os.kill(child.pid, signal.SIGCONT)
            _, status = os.waitpid(child.pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
        else:
            assert os.waitstatus_to_exitcode(status) == -number
        assert child.stdout is not None
        assert child.stdout.read() == ("before\nafter\n" if action == "stop" else "before\n")
    finally:
        child.returncode = 0  # it was waited for above
        if child.stdout is not None:
            child.stdout.close()
