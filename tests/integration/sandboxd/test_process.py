"""The process itself: what it refuses to start with, and what it says when it does not isolate."""

from __future__ import annotations

import os
import shutil
import stat
import urllib.request
from pathlib import Path

import pytest

from sandboxd.jail.find import candidates
from setpoint.contracts import run
from tests.integration.sandboxd.harness import (
    AS_NOBODY,
    Sandboxd,
    cell,
    copy_for_all,
    eventually,
    pids_of,
    tool,
)


def refused(host: Sandboxd, *arguments: str, **environ: str) -> str:
    """Start a sandboxd that must exit with 2; return what it said."""
    before = len(host.log)
    host.start(*arguments, wait=False, **environ)
    assert host.process is not None
    assert host.process.wait(timeout=30) == 2, host.log
    return host.log[before:].strip()


def test_all_faults_of_the_settings_are_said_at_once(fresh: Sandboxd) -> None:
    said = refused(
        fresh,
        "--listen",
        "0.0.0.0:8083",
        SETPOINT_BROKERS="nonsense",
        SETPOINT_OBJECTS="s3://bucket",
        SETPOINT_SANDBOX_RUNS_MAX="many",
        SETPOINT_SANDBOX_MOUNTS="relative",
        SETPOINT_JOIN_TOKEN_FILE="/nowhere",
    )
    lines = said.splitlines()
    assert len(lines) == 6 and all(line.startswith("setpoint-sandboxd: ") for line in lines), said
    assert "only loopback" in said


def test_a_second_one_in_the_same_directory_is_refused(fresh: Sandboxd) -> None:
    fresh.start()
    first = fresh.process
    assert "another sandboxd works in" in refused(fresh)
    fresh.process = first


def test_without_bubblewrap_it_says_what_to_type(fresh: Sandboxd) -> None:
    said = refused(fresh, SETPOINT_BWRAP="/no/such/bwrap")
    assert len(said.splitlines()) == 1
    assert "cannot isolate" in said and "/no/such/bwrap" in said and "--unsafe-no-isolation" in said


def test_a_bubblewrap_that_does_not_isolate_is_refused(fresh: Sandboxd) -> None:
    fake = fresh.root / "bwrap"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
    )
    fake.chmod(0o755)
    assert "shares the host's namespaces" in refused(fresh, SETPOINT_BWRAP=str(fake))
    fake.write_text("#!/bin/sh\nexit 1\n")
    assert "cannot isolate" in refused(fresh, SETPOINT_BWRAP=str(fake))


def test_a_setuid_bubblewrap_is_refused(fresh: Sandboxd) -> None:
    copy = fresh.root / "bwrap"
    shutil.copy(next(iter(candidates(""))), copy)
    copy.chmod(0o755 | stat.S_ISUID)
    assert "setuid" in refused(fresh, SETPOINT_BWRAP=str(copy))


def test_a_state_directory_that_sandboxes_cannot_reach_is_refused(fresh: Sandboxd) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs sandboxes under other accounts")
    closed = fresh.root / "closed"
    closed.mkdir(mode=0o700)
    said = refused(fresh, "--state-dir", str(closed))
    assert str(closed) in said and "cannot pass through" in said


async def test_without_isolation_every_result_says_so(fresh: Sandboxd) -> None:
    fresh.start("--unsafe-no-isolation")
    assert "NO ISOLATION" in fresh.log
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "echo $HOME; (setsid sleep 88.5 >/dev/null 2>&1 &)", env=(("A", "1"),)))
        await peer.start(spec)
        ended = await peer.done(spec.run_id)
        assert ended.enforced == {"isolation": "none", "unsafe": "yes"}
        (result,) = peer.results(spec.run_id)
        assert result.ok and result.stdout.tail == f"{peer.place}\n"
        await eventually(lambda: not pids_of("sleep 88.5"), "what was left is killed")
        assert (await peer.once("no-such-command")).error == "spawn"
        assert (await peer.once("sh", "-c", "kill -9 $$")).signal == 9
        assert (await peer.once("sleep", "89.5", timeout_s=0.3)).error == "timeout"
        assert pids_of("sleep 89.5") == []
        assert "SECRET_OF_THE_DAEMON" not in await peer.says("env")
        spec = peer.spec(tool("sh", "-c", "touch up; sleep 90.5"))
        await peer.start(spec)
        await peer.exists("up")
        fresh.kill()
    fresh.start("--unsafe-no-isolation")
    assert pids_of("sleep 90.5") == []


async def test_as_an_ordinary_user_it_isolates_and_says_that_accounts_are_shared(fresh: Sandboxd) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    fresh.environ["SETPOINT_BWRAP"] = str(copy_for_all(fresh.root / "program"))
    files = fresh.manifest({"a": b"x"})
    for path in (fresh.root, *fresh.root.rglob("*")):
        os.chown(path, 65534, 65534)
    fresh.program = ["-c", AS_NOBODY]
    fresh.start()
    async with cell(fresh) as peer:
        spec = peer.spec(tool("sh", "-c", "id -u; touch up; sleep 92.5"))
        assert isinstance(await peer.materialize(files), run.Done)
        await peer.start(spec)
        await eventually(lambda: bool(pids_of("sleep 92.5")), "the step sleeps")
        (inside,) = pids_of("sleep 92.5")
        assert Path(f"/proc/{inside}").stat().st_uid == 65534
        assert Path(f"/proc/{inside}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        await peer.cancel(spec.run_id)
        ended = await peer.done(spec.run_id)
        assert (ended.enforced["isolation"], ended.enforced["uid"], ended.enforced["pids"]) == (
            "bwrap",
            "shared",
            "none",
        )
        assert await peer.says("cat a; ls") == "xa\nup\n"
        assert pids_of("sleep 92.5") == []


async def test_a_bubblewrap_that_sandboxes_cannot_reach_is_linked_to_where_they_can(fresh: Sandboxd) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs sandboxes under other accounts")
    closed = fresh.root / "closed"
    program = copy_for_all(closed)
    closed.chmod(0o700)
    fresh.start(SETPOINT_BWRAP=str(program))
    async with cell(fresh) as peer:
        assert await peer.says("echo fine") == "fine\n"
    assert list((fresh.root / "sandboxd" / "bin").rglob("bwrap"))


def test_metrics_are_served(fresh: Sandboxd) -> None:
    fresh.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{fresh.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "setpoint_sandbox_runs_running 0.0" in text and "setpoint_loop_lag_seconds" in text


async def test_start_and_stop_many_times_leaves_nothing(fresh: Sandboxd) -> None:
    for _ in range(3):
        fresh.start()
        async with cell(fresh) as peer:
            peer.link.send(run.Start(1, peer.grant(), await peer.token(), peer.spec(tool("sleep", "91.5"))))
            assert fresh.stop() == 0
        assert pids_of("sleep 91.5") == [] and fresh.processes() == []
