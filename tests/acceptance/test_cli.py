"""The command line as a person uses it: processes, their exit codes, what they print and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from setpoint.local.stack import free_port
from setpoint.runtime import process_start
from tests.acceptance.projects import asset, project

_BOUND_S = 90


class Terminal:
    """Somebody's terminal: a home, a state directory, and the ``setpoint`` command."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "SETPOINT_STATE_DIR": str(home / "state"),
            "LANG": "C.UTF-8",
        }

    def command(self, *words: str) -> list[str]:
        """Return the argument vector of a ``setpoint`` command."""
        return [sys.executable, "-P", "-m", "setpoint.cli", *words]

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``setpoint`` with these words, without a terminal."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, env=self.environment, timeout=_BOUND_S, cwd=cwd
        )


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    """A terminal with a stack of its own in the background."""
    with tempfile.TemporaryDirectory(prefix="setpoint-cli-") as name:
        home = Path(name)
        home.chmod(0o711)
        port = free_port() & ~7
        made = Terminal(home, port)
        started = made.run("up", "-d", "--port", str(port))
        try:
            assert started.returncode == 0, started.stderr + _log(home / "state" / "up.log")
            yield made
        finally:
            made.run("down")


def _log(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_project_goes_from_nothing_to_ready_by_four_commands(terminal: Terminal) -> None:
    hello = terminal.home / "hello"
    assert terminal.run("init", str(hello)).returncode == 0
    assert terminal.run("validate", str(hello)).returncode == 0
    applied = terminal.run("apply", str(hello), "--wait")
    assert applied.returncode == 0, applied.stderr
    shown = terminal.run("-o", "json", "status", "--check", "-s", "hello")
    assert shown.returncode == 0, shown.stderr
    assert {row["name"]: row["state"] for row in json.loads(shown.stdout)} == {"greeting": "ready", "farewell": "ready"}


def test_the_session_is_that_of_the_project_one_stands_in(terminal: Terminal) -> None:
    here = terminal.home / "standing"
    terminal.run("init", str(here))
    assert terminal.run("apply", "--wait", cwd=here).returncode == 0
    assert "farewell" in terminal.run("status", cwd=here).stdout
    elsewhere = terminal.run("status", cwd=terminal.home)
    assert (elsewhere.returncode, elsewhere.stdout) == (2, "")


def test_what_a_sync_printed_and_what_happened_can_be_read_afterwards(terminal: Terminal) -> None:
    folder = _write(terminal.home / "talks", project(asset("talker", sync="echo spoken words")))
    assert terminal.run("apply", str(folder), "--wait").returncode == 0
    logs = terminal.run("logs", "talker", "-s", "talks")
    assert logs.returncode == 0, logs.stderr
    assert "spoken words" in logs.stdout
    events = terminal.run("-o", "json", "events", "-s", "talks")
    kinds = [json.loads(line)["type"] for line in events.stdout.splitlines()]
    assert kinds[0] == "session.created"
    assert "sync.succeeded" in kinds


def test_a_sync_that_fails_is_a_negative_answer_and_a_wrong_name_is_said_with_the_right_one(terminal: Terminal) -> None:
    folder = _write(terminal.home / "fails", project(asset("broken", sync="exit 3")))
    waited = terminal.run("apply", str(folder), "--wait", "--timeout", "3")
    assert waited.returncode in (1, 6)
    assert terminal.run("sync", "broken", "-s", "fails").returncode == 1
    wrong = terminal.run("sync", "brokn", "-s", "fails")
    assert wrong.returncode == 1
    assert "broken" in wrong.stderr
    assert terminal.run("status", "--check", "-s", "fails").returncode == 1
    assert terminal.run("status", "-s", "no-such-session").returncode == 4


def test_following_events_ends_with_130_on_ctrl_c(terminal: Terminal) -> None:
    terminal.run("session", "create", "followed")
    reader = subprocess.Popen(
        terminal.command("events", "-f", "-s", "followed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=terminal.environment,
        text=True,
    )
    assert reader.stdout is not None
    assert "session created" in reader.stdout.readline()
    reader.send_signal(signal.SIGINT)
    reader.communicate(timeout=10)
    assert reader.returncode == 130


def test_hosts_are_listed_and_sessions_closed(terminal: Terminal) -> None:
    hosts = json.loads(terminal.run("-o", "json", "host", "ls").stdout)
    assert {host["role"] for host in hosts} >= {"cell", "sandbox"}
    terminal.run("session", "create", "short")
    closed = terminal.run("session", "close", "short")
    assert closed.returncode == 0, closed.stderr
    assert terminal.run("evaluate", "-s", "short").returncode == 5
    listed = json.loads(terminal.run("-o", "json", "session", "ls").stdout)
    assert {row["name"]: row["state"] for row in listed}["short"] == "closed"


def test_a_second_stack_in_the_same_place_is_refused(terminal: Terminal) -> None:
    second = terminal.run("up")
    assert second.returncode == 5
    assert "already runs" in second.stderr


def _write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


def _traces(before: set[int]) -> list[str]:
    """Return the processes of a demo that are still there: they have its directory in their arguments."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 1) for line in listed.splitlines()[1:]]
    return [row[1] for row in rows if len(row) == 2 and int(row[0]) not in before and "setpoint-demo-" in row[1]]


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _demo_dirs() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("setpoint-demo-*"))


def test_the_demo_converges_heals_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before, dirs = _pids(), _demo_dirs()
    began = time.monotonic()
    done = Terminal(tmp_path, 0).run("demo")
    assert done.returncode == 0, done.stderr + done.stdout
    assert time.monotonic() - began < 60
    for words in ("greeting", "farewell", "Drifted", "syncing", "Ready", "gateway", "postgres", "setpoint up"):
        assert words in done.stdout
    assert _traces(before) == []
    assert _demo_dirs() <= dirs


def test_ctrl_c_in_the_middle_of_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    before, dirs = _pids(), _demo_dirs()
    terminal = Terminal(tmp_path, 0)
    demo = subprocess.Popen(terminal.command("demo"), stdout=subprocess.PIPE, env=terminal.environment, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "syncing" in line:
            break
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert _traces(before) == []
    assert _demo_dirs() <= dirs


def test_what_a_killed_supervisor_left_is_stopped_by_down() -> None:
    with tempfile.TemporaryDirectory(prefix="setpoint-cli-") as name:
        home = Path(name)
        home.chmod(0o711)
        terminal, port = Terminal(home, 0), free_port() & ~7
        started = terminal.run("up", "-d", "-o", "json", "--port", str(port))
        assert started.returncode == 0, started.stderr
        found = json.loads(started.stdout)
        os.kill(found["supervisor"], signal.SIGKILL)
        stopped = terminal.run("down")
        assert stopped.returncode == 0, stopped.stderr
        assert "was killed" in stopped.stderr
        for part in found["processes"].values():
            assert process_start(part["pid"]) != part["start"]
        assert terminal.run("down").returncode == 4


def test_a_stack_that_cannot_start_says_why_in_a_line(tmp_path: Path) -> None:
    terminal, port = Terminal(tmp_path, 0), free_port() & ~7
    terminal.environment["SETPOINT_PG_BINDIR"] = "/nonexistent"
    failed = terminal.run("up", "--port", str(port))
    assert failed.returncode == 7
    assert any(line.startswith("setpoint: ") and "Postgres" in line for line in failed.stderr.splitlines())
    assert "Traceback" not in failed.stderr
    assert terminal.run("up", "--state-dir", "/proc/nope").returncode == 2
