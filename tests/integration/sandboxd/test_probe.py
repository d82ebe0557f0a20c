"""Probes: the real program in the real sandbox, asking databases that tenants made, honest and hostile ones."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from setpoint import runtime
from setpoint.contracts import limits, run
from setpoint.contracts.probe import DRIFTED, READY, UNKNOWN, Engine, Probe
from setpoint.local.account import Account, closed_directory
from tests.integration.sandboxd.harness import AS_NOBODY, Cell, Sandboxd, cell, copy_for_all, eventually, pids_of

ROOT = Path(__file__).resolve().parents[3]
SALES = (
    "create table orders (id integer, amount real, made text); "
    "insert into orders values (1, 2.5, '2026-01-02'), (2, 4, null)"
)


def probe(engine: Engine, query: str, max_age_s: float | None = None, path: str = "") -> run.Step:
    """Return a condition's step that asks ``sales.sqlite`` or ``sales.duckdb``, or another path."""
    asked = Probe(engine, path or f"sales.{engine}", query, max_age_s)
    return run.Step(0, "condition", "c", (), 30.0, (("LD_PRELOAD", "/workspace/evil.so"),), asked)


async def ask(peer: Cell, step: run.Step) -> tuple[int | None, str]:
    """Carry out one probe and return its exit code and its last line."""
    result = await outcome(peer, step)
    assert result.error is None, result
    lines = result.stdout.tail.splitlines()
    return result.exit_code, lines[-1] if lines else ""


async def outcome(peer: Cell, step: run.Step) -> run.StepResult:
    """Carry out one step and return its result."""
    spec = peer.spec(step)
    answer = await peer.start(spec)
    assert isinstance(answer, run.Started), answer
    await peer.done(spec.run_id)
    return peer.results(spec.run_id)[0]


def place(peer: Cell) -> Path:
    """Return the workspace on this host."""
    assert peer.place is not None
    return peer.place


def make(peer: Cell, engine: Engine, script: str = SALES, name: str = "") -> Path:
    """Make a database in the workspace, as the tenant's account would have it."""
    path = place(peer) / (name or f"sales.{engine}")
    connection: Any = sqlite3.connect(path) if engine == "sqlite" else duckdb.connect(str(path))
    if engine == "sqlite":
        connection.executescript(script)
    else:
        connection.execute(script)
    connection.close()
    facts = place(peer).stat()
    os.chown(path, facts.st_uid, facts.st_gid)
    return path


def listing(peer: Cell) -> dict[str, tuple[int, int]]:
    """Return name, size and time of everything in the workspace."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in place(peer).iterdir()}


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
async def test_a_boolean_is_ready_or_drifted_and_the_rest_is_unknown(host: Sandboxd, engine: Engine) -> None:
    async with cell(host) as peer:
        make(peer, engine)
        assert await ask(peer, probe(engine, "select count(*) = 2 from orders")) == (READY, "")
        assert await ask(peer, probe(engine, "select count(*) > 2 from orders")) == (
            DRIFTED,
            "condition returned false",
        )
        assert await ask(peer, probe(engine, "select 'TRUE'")) == (READY, "")
        code, reason = await ask(peer, probe(engine, "select nope from orders"))
        assert (code, "nope" in reason, "\n" in reason) == (UNKNOWN, True, False)
        assert await ask(peer, probe(engine, "select true where false")) == (UNKNOWN, "the query gave no row")
        assert await ask(peer, probe(engine, "select made = '' from orders where made is null")) == (
            UNKNOWN,
            "the query gave NULL",
        )


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
async def test_an_instant_is_compared_with_the_greatest_age(host: Sandboxd, engine: Engine) -> None:
    async with cell(host) as peer:
        make(peer, engine)
        now = runtime.now_s()
        assert await ask(peer, probe(engine, f"select {now - 5}", 60)) == (READY, "")
        assert await ask(peer, probe(engine, f"select {now + 500}", 60)) == (READY, "")
        code, reason = await ask(peer, probe(engine, f"select {now - 90}", 60))
        assert code == DRIFTED
        assert reason.startswith("last updated 9") and reason.endswith("s ago, max age is 60s")
        assert await ask(peer, probe(engine, "select max(made) from orders where id = 2", 60)) == (
            UNKNOWN,
            "the query gave NULL",
        )
        code, reason = await ask(peer, probe(engine, "select max(made) from orders", 60))
        assert (code, reason.startswith("last updated")) == (DRIFTED, True)


async def test_timestamps_of_duckdb_are_instants_whatever_their_type(host: Sandboxd) -> None:
    async with cell(host) as peer:
        make(peer, "duckdb")
        for value in (
            "now()",
            "now()::timestamp",
            "now()::timestamp_s",
            "current_date + 1",
            "timestamp '290000-01-01'",
        ):
            assert await ask(peer, probe("duckdb", f"select {value}", 3600)) == (READY, ""), value
        code, reason = await ask(peer, probe("duckdb", "select timestamptz '2026-01-01 00:00:00+02'", 3600))
        assert (code, reason.startswith("last updated")) == (DRIFTED, True)
        assert (await ask(peer, probe("duckdb", "select now()")))[0] == UNKNOWN


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
async def test_what_is_no_database_of_the_workspace_is_unknown(host: Sandboxd, engine: Engine) -> None:
    async with cell(host) as peer:
        make(peer, engine)
        (place(peer) / "text").write_text("not a database at all" * 50)
        (place(peer) / "empty").touch()
        (place(peer) / "folder").mkdir()
        (place(peer) / "out").symlink_to("/etc/passwd")
        (place(peer) / "loop").symlink_to("loop")
        os.mkfifo(place(peer) / "pipe")
        for path, why in (
            ("missing", "missing: there is no such file"),
            ("text", "text is no "),
            ("empty", "empty is empty"),
            ("folder", "folder is no regular file"),
            ("pipe", "pipe is no regular file"),
            ("out", "out leads out of the workspace"),
            ("loop", "loop cannot be read: "),
        ):
            code, reason = await ask(peer, probe(engine, "select true", path=path))
            assert (code, reason.startswith(why)) == (UNKNOWN, True), reason
        for path in ("../x", "/etc/passwd", "a/./b", ""):
            refused = await peer.start(peer.spec(run.Step(0, "condition", "c", (), 30.0, (), Probe(engine, path, "x"))))
            assert isinstance(refused, run.Refused) and refused.code == "invalid", refused


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
async def test_a_damaged_database_is_unknown(host: Sandboxd, engine: Engine) -> None:
    async with cell(host) as peer:
        path = make(peer, engine)
        content = bytearray(path.read_bytes())
        content[100:] = os.urandom(len(content) - 100)
        path.write_bytes(content)
        result = await outcome(peer, probe(engine, "select count(*) = 2 from orders"))
        assert result.exit_code not in (READY, DRIFTED), result


HOSTILE_DUCKDB = (
    "copy orders to 'stolen.csv'",
    "attach 'other.duckdb'",
    "insert into orders values (3, 3, null)",
    "select true from read_csv('/etc/passwd')",
    "select true from read_text('secret.txt')",
    "select true from read_csv('http://127.0.0.1:{port}/healthz')",
    "install httpfs",
    "set enable_external_access = true",
)
"""One of each kind; all that were thought of are in tests/unit/sandboxd/test_probe_files.py."""

HOSTILE_SQLITE = (
    "attach 'other.sqlite' as other",
    "delete from orders",
    "vacuum into 'stolen.sqlite'",
    "pragma journal_mode = wal",
    "select load_extension('/workspace/evil.so')",
)


@pytest.mark.parametrize(
    ("engine", "queries"), [("duckdb", HOSTILE_DUCKDB), ("sqlite", HOSTILE_SQLITE)], ids=["duckdb", "sqlite"]
)
async def test_a_hostile_query_reaches_nothing(host: Sandboxd, engine: Engine, queries: tuple[str, ...]) -> None:
    """No file is made or changed, nothing outside the database is read, and each is Unknown: never a verdict."""
    async with cell(host) as peer:
        make(peer, engine)
        (place(peer) / "secret.txt").write_text("root:")
        (place(peer) / "secret.txt").chmod(0o644)
        before = listing(peer)
        for query in queries:
            code, reason = await ask(peer, probe(engine, query.format(port=host.port)))
            assert code == UNKNOWN and "root:" not in reason, (query, code, reason)
        assert listing(peer) == before


async def test_a_hostile_sqlite_file_runs_none_of_its_functions(host: Sandboxd) -> None:
    async with cell(host) as peer:
        make(peer, "sqlite", "create table t (x); create view v as select load_extension('/workspace/evil.so') as x")
        code, reason = await ask(peer, probe("sqlite", "select x from v"))
        assert code == UNKNOWN, reason


async def test_the_sandbox_itself_lets_a_probe_write_nothing_and_says_so(host: Sandboxd) -> None:
    async with cell(host) as peer:
        make(peer, "sqlite")
        slow = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
        spec = peer.spec(probe("sqlite", slow))
        await peer.start(spec)
        pids: list[int] = []

        def inside() -> bool:
            pids[:] = [pid for pid in _pids() if _mount(pid, "/setpoint") and _mount(pid, "/workspace")]
            return bool(pids)

        await eventually(inside, "the probe runs")
        assert {_mount(pid, "/workspace") for pid in pids} == {"ro"}
        assert {_mount(pid, "/setpoint") for pid in pids} == {"ro"}
        assert "network" in (host.health() or {})["enforced"]
        await peer.cancel(spec.run_id)
        await peer.done(spec.run_id)
        done = next(frame for frame in peer.pushed if isinstance(frame, run.StepDone) and frame.run_id == spec.run_id)
        assert (done.enforced["isolation"], done.enforced["workspace"]) == ("bwrap", "read-only")


async def test_other_steps_do_not_see_the_program_and_can_write(host: Sandboxd) -> None:
    async with cell(host) as peer:
        assert await peer.says("ls -d /setpoint 2>/dev/null; touch /workspace/x && echo written") == "written\n"


async def test_a_probe_that_takes_too_long_is_killed(host: Sandboxd) -> None:
    async with cell(host) as peer:
        make(peer, "sqlite")
        slow = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) > 0 from n"
        step = run.Step(0, "condition", "c", (), 0.5, (), Probe("sqlite", "sales.sqlite", slow))
        result = await outcome(peer, step)
        assert (result.error, result.detail) == ("timeout", "not done after 0.5 s")
        assert not pids_of("probe")


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
async def test_a_file_that_somebody_writes_is_unknown_and_readable_afterwards(host: Sandboxd, engine: Engine) -> None:
    async with cell(host) as peer:
        path = make(peer, engine)
        library = "sqlite3" if engine == "sqlite" else "duckdb"
        begin = "begin exclusive" if engine == "sqlite" else "begin"
        script = f"""
import {library}, sys
connection = {library}.connect(sys.argv[1]{", isolation_level=None" if engine == "sqlite" else ""})
connection.execute("{begin}")
connection.execute("insert into orders values (3, 3, null)")
print("written", flush=True)
sys.stdin.readline()
connection.execute("commit")
connection.close()
"""
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None and writer.stdin is not None
            assert writer.stdout.readline() == "written\n"
            code, reason = await ask(peer, probe(engine, "select count(*) = 3 from orders"))
            assert code == UNKNOWN, reason
            assert "locked" in reason or "being written to" in reason
            writer.stdin.write("\n")
        assert await ask(peer, probe(engine, "select count(*) = 3 from orders")) == (READY, "")


async def test_a_sqlite_file_in_wal_mode_is_read_with_a_writer_and_without(host: Sandboxd) -> None:
    async with cell(host) as peer:
        path = make(peer, "sqlite", f"pragma journal_mode = wal; {SALES}")
        before = listing(peer)
        assert await ask(peer, probe("sqlite", "select count(*) = 2 from orders")) == (READY, "")
        assert listing(peer) == before
        writer = sqlite3.connect(path, isolation_level=None)
        try:
            writer.execute("insert into orders values (3, 3, null)")
            for left in place(peer).glob("sales.sqlite-*"):
                os.chown(left, place(peer).stat().st_uid, place(peer).stat().st_gid)
            assert await ask(peer, probe("sqlite", "select count(*) = 3 from orders")) == (READY, "")
        finally:
            writer.close()


async def test_a_wal_without_its_index_says_what_to_do(host: Sandboxd) -> None:
    async with cell(host) as peer:
        path = make(peer, "sqlite", f"pragma journal_mode = wal; {SALES}")
        (place(peer) / "sales.sqlite-wal").write_bytes(b"x" * 4128)
        code, reason = await ask(peer, probe("sqlite", "select count(*) = 2 from orders"))
        assert (code, "-shm" in reason) == (UNKNOWN, True), (reason, path)


async def test_a_query_as_long_as_it_may_be_is_asked(host: Sandboxd) -> None:
    async with cell(host) as peer:
        make(peer, "sqlite")
        long = "select count(*) = 2 from orders -- " + "x" * (limits.QUERY_BYTES_MAX - 40)
        assert await ask(peer, probe("sqlite", long)) == (READY, "")


async def test_a_probe_works_without_isolation_and_says_that_it_had_none() -> None:
    host = Sandboxd()
    try:
        host.start("--unsafe-no-isolation")
        async with cell(host) as peer:
            for engine in ("sqlite", "duckdb"):
                make(peer, engine)
                before = listing(peer)
                assert await ask(peer, probe(engine, "select count(*) = 2 from orders")) == (READY, "")
                for query in HOSTILE_DUCKDB if engine == "duckdb" else HOSTILE_SQLITE:
                    assert (await ask(peer, probe(engine, query.format(port=host.port))))[0] == UNKNOWN, query
                assert listing(peer) == before
            done = [frame.enforced for frame in peer.pushed if isinstance(frame, run.StepDone)]
            assert all("workspace" not in enforced and enforced["isolation"] == "none" for enforced in done)
    finally:
        host.close()


async def test_an_ordinary_user_with_the_systems_interpreter_asks_as_well(fresh: Sandboxd) -> None:
    """Nothing of the interpreter has to be linked then: a sandbox sees it under /usr anyway."""
    system, packages = Path("/usr/bin/python3"), [str(ROOT), *(path for path in sys.path if path.endswith("-packages"))]
    named = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if system.resolve().name != named:
        pytest.skip(f"the system's python3 is not {named}, for which the packages here are made")
    if os.geteuid() == 0:
        if any(closed_directory(Account("nobody", 65534, 65534, borrowed=True), Path(path)) for path in packages):
            pytest.skip("an ordinary user cannot read this tree")
        fresh.environ["SETPOINT_BWRAP"] = str(copy_for_all(fresh.root / "program"))
        for path in (fresh.root, *fresh.root.rglob("*")):
            os.chown(path, 65534, 65534)
        fresh.program = ["-c", AS_NOBODY]
    fresh.python, fresh.environ["PYTHONPATH"] = str(system), ":".join(packages)
    fresh.start()
    async with cell(fresh) as peer:
        for engine in ("sqlite", "duckdb"):
            make(peer, engine)
            assert await ask(peer, probe(engine, "select count(*) = 2 from orders")) == (READY, "")
    (kit,) = (fresh.root / "sandboxd" / "bin").glob("probe-*")
    assert sorted(path.name for path in kit.iterdir()) == ["lib"]


async def test_a_host_that_cannot_have_the_program_says_why_and_runs_the_rest(fresh: Sandboxd) -> None:
    (fresh.root / "sandboxd" / "bin").write_text("in the way of the directory")
    fresh.start("--unsafe-no-isolation")
    async with cell(fresh) as peer:
        make(peer, "sqlite")
        result = await outcome(peer, probe("sqlite", "select true"))
        assert result.error == "spawn"
        assert "this sandbox host cannot ask databases" in result.detail
        assert await peer.says("echo on") == "on\n"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _mount(pid: int, wanted: str) -> str:
    """Return whether a directory that a process sees mounted is ``ro`` or ``rw``, empty when it is not mounted."""
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    words = next((line.split() for line in mounts if line.split()[4] == wanted), None)
    return "" if words is None else words[5].split(",")[0]
