"""The command line as a person uses it: processes, their exit codes, what they print and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from setpoint.local.stack import free_port
from setpoint.runtime import process_start
from tests.acceptance.projects import asset, project
from tests.measured import measured

_BOUND_S = 90


class Terminal:
    """Somebody's terminal: a home, a state directory, and the ``setpoint`` command."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.environment = {
            **measured(),
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

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``setpoint`` with these words, for a test that interrupts it.

        A shell that starts the tests in the background has them ignore SIGINT, and children inherit that.
        """
        return subprocess.Popen(
            self.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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


def test_a_variable_of_an_apply_is_in_the_environment_of_its_sync(terminal: Terminal) -> None:
    folder = _write(terminal.home / "given", project(asset("talker", sync="echo to $WHO in $PLACE")))
    source = folder / "resources" / "assets.yaml"
    env = "env: {WHO: '${WHO}', PLACE: '$${X}'}\n    type: Command"
    source.write_text(source.read_text().replace("type: Command", env))
    refused = terminal.run("apply", str(folder))
    assert (refused.returncode, "--var WHO=VALUE" in refused.stderr) == (2, True), refused.stderr
    (folder / "setpoint.yaml").write_text("maxControllers: 3\n")
    applied = terminal.run("apply", str(folder), "--var", "WHO=all the world", "--wait")
    assert applied.returncode == 0, applied.stderr
    assert "setpoint.yaml:1:1: warning: maxControllers is ignored" in applied.stderr
    assert "to all the world in ${X}" in terminal.run("logs", "talker", "-s", "given").stdout


def test_a_dry_run_of_an_apply_says_what_would_change_and_changes_nothing(terminal: Terminal) -> None:
    folder = _write(terminal.home / "foretold", project(asset("first"), asset("second")))
    first = terminal.run("apply", str(folder), "--dry-run", "-o", "json")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert (said["generation"], said["assets"]["new"]) == (None, ["first", "second"])
    assert terminal.run("status", "-s", "foretold").returncode == 4, "a dry run made a session"

    assert terminal.run("apply", str(folder), "--wait").returncode == 0
    assert "nothing would change" in terminal.run("apply", str(folder), "--dry-run").stderr
    _write(folder, project(asset("first", sync="echo again"), asset("third")))
    (folder / "notes.txt").write_text("x")
    before = terminal.run("events", "-s", "foretold").stdout
    shown = terminal.run("apply", str(folder), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()[1:]] == [
        ["new", "asset", "third"],
        ["changed", "asset", "first"],
        ["gone", "asset", "second"],
        ["new", "file", "notes.txt"],
        ["changed", "file", "resources/assets.yaml"],
    ]
    assert "beside generation 1 of session foretold" in shown.stderr
    assert terminal.run("events", "-s", "foretold").stdout == before
    (folder / "resources" / "assets.yaml").write_text("kind: [\n")
    assert terminal.run("apply", str(folder), "--dry-run").returncode == 2
    assert terminal.run("apply", str(folder), "--dry-run", "--wait").returncode == 2


def test_what_a_sync_printed_and_what_happened_can_be_read_afterwards(terminal: Terminal) -> None:
    folder = _write(terminal.home / "talks", project(asset("talker", sync="echo spoken words")))
    assert terminal.run("apply", str(folder), "--wait").returncode == 0
    logs = terminal.run("logs", "talker", "-s", "talks")
    assert logs.returncode == 0, logs.stderr
    assert "spoken words" in logs.stdout
    assert terminal.run("evaluate", "talker", "-s", "talks").returncode == 0
    again = terminal.run("logs", "talker", "-s", "talks")
    assert again.stdout == logs.stdout, "an evaluation does not bury what the latest sync printed"
    events = terminal.run("-o", "json", "events", "-s", "talks")
    kinds = [json.loads(line)["type"] for line in events.stdout.splitlines()]
    assert kinds[0] == "session.created"
    assert "sync.succeeded" in kinds


def test_a_sync_that_fails_is_a_negative_answer_and_a_wrong_name_is_said_with_the_right_one(terminal: Terminal) -> None:
    folder = _write(terminal.home / "fails", project(asset("broken", sync="exit 3")))
    waited = terminal.run("apply", str(folder), "--wait", "--timeout", "3")
    assert waited.returncode in (1, 6)
    assert terminal.run("sync", "broken", "-s", "fails").returncode == 1
    for command in ("explain", "history"):
        other = terminal.run(command, "x/../broken", "-s", "fails")
        assert (other.returncode, "no asset 'x/../broken'" in other.stderr) == (4, True), other.stderr
    wrong = terminal.run("sync", "brokn", "-s", "fails")
    assert wrong.returncode == 1
    assert "broken" in wrong.stderr
    assert terminal.run("status", "--check", "-s", "fails").returncode == 1
    assert terminal.run("status", "-s", "no-such-session").returncode == 4


def test_following_events_ends_with_130_on_ctrl_c(terminal: Terminal) -> None:
    terminal.run("session", "create", "followed")
    with terminal.start("events", "-f", "-s", "followed") as reader:
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
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
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
    with terminal.start("demo") as demo:
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


def _json(terminal: Terminal, *words: str) -> Any:
    """Run a command with ``-o json``; it must go well."""
    done = terminal.run("-o", "json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_selectors_say_who_is_synced_and_shown(terminal: Terminal) -> None:
    folder = _write(terminal.home / "picks", project(asset("a"), asset("b", ["a"]), asset("c", ["b"]), asset("d")))
    assert terminal.run("apply", str(folder), "--wait").returncode == 0
    done = terminal.run("-o", "json", "sync", "+c", "-x", "a", "-s", "picks")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["assets"] == {"b": "succeeded", "c": "succeeded"}
    assert [row["name"] for row in _json(terminal, "status", "b+", "-s", "picks")] == ["b", "c"]
    assert terminal.run("graph", "+c", "-s", "picks").stdout.splitlines() == [
        "a (ready)",
        "`- b (ready)",
        "   `- c (ready)",
    ]
    wrong = terminal.run("sync", "+", "-s", "picks")
    assert (wrong.returncode, "no selector" in wrong.stderr) == (2, True)


def test_what_is_stopped_explains_itself_until_it_may_go_on(terminal: Terminal) -> None:
    folder = _write(terminal.home / "asks", project(asset("top", interval="300ms"), asset("low", ["top"])))
    assert terminal.run("apply", str(folder), "--wait").returncode == 0
    assert terminal.run("suspend", "top", "-m", "month end", "-s", "asks").returncode == 0
    assert terminal.run("halt", "-m", "all hands off", "-s", "asks").returncode == 0
    _remove(terminal, "asks", "top.txt")
    whole = ["Halted", "AssetSuspended", "UpstreamDrifted"]
    assert _until(lambda: _codes(terminal, "low") == whole, 20), _codes(terminal, "low")
    words = ("session are halted: all hands off", "suspended by the user: month end", "setpoint resume top")
    assert _until(lambda: _all_said(terminal, "low", words), 20)  # while top is being looked at, that comes first
    assert terminal.run("resume", "top", "-s", "asks").returncode == 0
    assert _until(lambda: _codes(terminal, "low")[:1] == ["Halted"], 20), _codes(terminal, "low")
    assert terminal.run("unhalt", "-s", "asks").returncode == 0
    assert _until(lambda: terminal.run("status", "--check", "-s", "asks").returncode == 0, 30)


def test_what_was_done_about_an_asset_can_be_looked_up(terminal: Terminal) -> None:
    folder = _write(terminal.home / "past", project(asset("a")))
    assert terminal.run("apply", str(folder), "--wait").returncode == 0
    entries = _json(terminal, "history", "a", "-s", "past")
    assert [(entry["kind"], entry["why"], entry["verdict"]) for entry in entries] == [
        ("sync", "drift", "ready"),
        ("evaluation", "initial", "drifted"),
    ]
    (sync,) = _json(terminal, "inspect", "a", "--changed-only", "-s", "past")
    assert [(one["name"], one["before"], one["after"]) for one in sync["conditions"]] == [
        ("a-file", "drifted", "ready")
    ]
    assert "a-file" in terminal.run("inspect", "a", "-s", "past").stdout
    assert terminal.run("history", "none", "-s", "past").returncode == 4


def _codes(terminal: Terminal, name: str) -> list[str]:
    return [reason["code"] for reason in _json(terminal, "explain", name, "-s", "asks")["reasons"]]


def _all_said(terminal: Terminal, name: str, words: tuple[str, ...]) -> bool:
    said = terminal.run("explain", name, "-s", "asks").stdout
    return all(phrase in said for phrase in words)


def _until(holds: Callable[[], bool], within_s: float) -> bool:
    """Ask again, a command at a time, until it holds or the time is over."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
    return True


def _remove(terminal: Terminal, session: str, path: str) -> None:
    """Delete a file of a session's workspace."""
    found = list((terminal.home / "state").rglob(path))
    assert found, f"{path} of {session} is nowhere"
    for one in found:
        one.unlink()
