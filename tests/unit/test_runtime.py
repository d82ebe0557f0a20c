"""The shared runtime: settings with all their faults, names, clocks, and what identifies a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from setpoint import runtime
from setpoint.contracts.ids import is_name, is_uuid
from setpoint.contracts.limits import OPEN_FILES_MAX
from setpoint.runtime import Env


def faults_of(env: Env) -> int:
    return len(env.faults)


def test_every_fault_is_noted_and_all_are_said_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    env = Env(
        {
            "SECRET_FILE": str(tmp_path / "absent"),
            "NUMBER": "many",
            "LARGE": "99",
            "DURATION": "soon",
            "CHOICE": "blue",
            "LISTEN": "0.0.0.0:80",
        }
    )
    assert env.text("TEXT") == ""
    assert env.secret("SECRET") == ""
    assert env.number("NUMBER", 5, low=1, high=9) == 5
    env.number("LARGE", 5, low=1, high=9)
    assert env.duration_s("DURATION", 3.0) == 3.0
    assert env.choice("CHOICE", "red", ("red", "green")) == "red"
    env.listen("LISTEN", "127.0.0.1:1")
    with pytest.raises(SystemExit) as stopped:
        env.finish("setpoint-x")
    assert stopped.value.code == runtime.EXIT_CONFIG == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("setpoint-x: ") for line in lines)


def test_settings_without_a_fault_let_the_process_start(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" s3cret\n")
    env = Env({"S_FILE": str(tmp_path / "secret"), "S": "other", "N": "2.5", "D": "1h30m", "C": "b", "L": "[::1]:0"})
    assert env.secret("S") == "s3cret"
    assert env.secret("ABSENT", required=False) == ""
    assert env.number("N", 0, low=0, high=3) == 2.5
    assert env.duration_s("D", 0) == 5400
    assert env.choice("C", "a", ("a", "b")) == "b"
    assert env.listen("L", "127.0.0.1:1") == ("::1", 0)
    assert env.listen("ABSENT", "127.0.0.1:8080") == ("127.0.0.1", 8080)
    env.finish("setpoint-x")


@pytest.mark.parametrize("text", ["8080", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"])
def test_what_is_no_listener(text: str) -> None:
    env = Env({"L": text})
    env.listen("L", "127.0.0.1:1")
    assert faults_of(env) == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.1", "example.org", "127.0.0.1.example.org"])
def test_only_loopback_is_bound_without_tls(host: str) -> None:
    env = Env({"L": f"{host}:80"})
    env.listen("L", "127.0.0.1:1")
    assert "only loopback" in env.faults[0]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_a_number_is_finite(value: str) -> None:
    env = Env({"N": value})
    env.number("N", 1, low=0, high=10)
    assert faults_of(env) == 1


def test_the_state_directory() -> None:
    assert runtime.default_state_dir({"SETPOINT_STATE_DIR": "/x/y"}) == Path("/x/y")
    chosen = runtime.default_state_dir({"XDG_STATE_HOME": "/home/u/.s"})
    assert chosen == (Path("/var/lib/setpoint") if os.geteuid() == 0 else Path("/home/u/.s/setpoint"))


@pytest.mark.parametrize("raw", ["Host.Example", "-x-", "a b/c", "x" * 300, "ünï", "...", "host\n"])
def test_any_machine_name_becomes_a_legal_host_id(raw: str) -> None:
    assert is_name(runtime.host_name({"SETPOINT_HOST_ID": raw}, "cell"))


def test_a_host_id_that_is_legal_stays_as_it_is() -> None:
    assert runtime.host_name({"SETPOINT_HOST_ID": "celld-2"}, "cell") == "celld-2"
    assert runtime.host_name({}, "cell").endswith("-cell")


def test_ids_and_secrets_are_fresh() -> None:
    assert is_uuid(runtime.new_id())
    assert len({runtime.new_id() for _ in range(1000)}) == 1000
    assert len({runtime.new_secret() for _ in range(1000)}) == 1000
    assert len(runtime.new_secret()) == 32
    assert is_uuid(runtime.boot_id())


def test_clocks_go_forward_in_their_units() -> None:
    assert runtime.now_us() // 1_000_000 - runtime.now_s() in (-1, 0, 1)
    assert 0 < runtime.boottime_s() <= runtime.boottime_s()


def test_a_process_is_named_by_pid_and_start_and_a_dead_one_is_gone() -> None:
    own = runtime.process_start(os.getpid())
    assert own is not None
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        started = runtime.process_start(child.pid)
        assert started is not None
        assert started >= own
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert runtime.process_start(child.pid) is None, "a zombie runs nothing any more"
    assert runtime.process_start(child.pid) is None


DAEMON = """
import asyncio, os, signal, sys
from setpoint import runtime
async def serve(stop):
    {body}
runtime.run_daemon("probe", serve)
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DAEMON.format(body=body)],
        capture_output=True,
        text=True,
        timeout=30,
        env={"SETPOINT_LOG_FORMAT": "json"},
    )


def test_a_daemon_ends_with_the_code_that_says_how() -> None:
    for number in ("SIGTERM", "SIGINT"):
        assert run(f"os.kill(os.getpid(), signal.{number}); await stop.wait()").returncode == 0
    died = run("raise RuntimeError('lost')")
    assert died.returncode == 1
    assert "daemon died" in died.stderr
    assert "RuntimeError: lost" in died.stderr
    assert died.stdout == ""
    assert run("sys.exit(2)").returncode == 2


def test_a_daemon_that_dies_of_several_things_names_each_of_them_once() -> None:
    group = "ExceptionGroup('g', [OSError('gone'), ExceptionGroup('h', [ValueError('odd'), OSError('gone')])])"
    (line,) = [line for line in run(f"raise {group}").stderr.splitlines() if "daemon died" in line]
    assert json.loads(line)["why"] == "OSError: gone; ValueError: odd"


def test_a_daemon_may_open_as_many_files_as_it_is_allowed() -> None:
    body = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    limited = ["/bin/sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh", sys.executable, "-c", DAEMON.format(body=body)]
    said = subprocess.run(limited, capture_output=True, text=True, timeout=30, check=True, env={}).stdout
    soft, hard = map(int, said.split())
    assert soft == min(hard, OPEN_FILES_MAX) > 256
