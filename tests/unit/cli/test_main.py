"""Exit codes and the two outputs: data on stdout, all else on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from setpoint.contracts.problem import CODES
from tests.measured import measured


def setpoint(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the CLI as a process with nothing in its environment but what is given."""
    command = [sys.executable, "-P", "-m", "setpoint.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env={**measured(), "PATH": "/usr/bin:/bin", **environment}
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("no-such-command",), 2),
        (("sync",), 2),
        (("status", "-s", "x"), 3),
        (("down",), 4),
        (("host", "ls"), 3),
    ],
)
def test_exit_codes_are_the_documented_ones(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    done = setpoint(*words, HOME=str(tmp_path), SETPOINT_STATE_DIR=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert bool(done.stdout) == (code == 0)


def test_a_server_that_is_not_there_is_exit_7_in_one_line(tmp_path: Path) -> None:
    done = setpoint(
        "session", "ls", HOME=str(tmp_path), SETPOINT_API_KEY="sp_a_b", SETPOINT_SERVER="http://127.0.0.1:9"
    )
    assert done.returncode == 7
    assert len(done.stderr.strip().splitlines()) == 1


def test_validate_reports_every_fault_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "setpoint.yaml").write_text("{}\n")
    (tmp_path / "resources" / "a.yaml").write_text(
        "apiVersion: setpoint.dev/v1alpha1\nkind: Asset\nmetadata: {name: a}\nspec: {upstreems: [], onDrift: 7}\n"
    )
    done = setpoint("validate", str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 2
    assert "resources/a.yaml:4:" in done.stderr
    assert "upstreams" in done.stderr


def test_every_problem_code_has_a_documented_exit_code() -> None:
    assert {kind.exit_code for kind in CODES.values()} <= {2, 3, 4, 5, 7, 8}
