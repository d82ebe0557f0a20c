"""Asking database files: what is a database, what may be asked, and that nothing is written or reached."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sandboxd.probe.__main__ import ask
from sandboxd.probe.answer import DRIFTED, READY, UNKNOWN

ENGINES = ("sqlite", "duckdb")
ORDERS = "create table orders (id integer, amount real, made text); insert into orders values (1, 2.5, '2026-01-02')"


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path) -> Iterator[Path]:
    """Stand in a workspace with ``orders`` in both kinds of file, beside a secret outside it."""
    here = tmp_path / "workspace"
    here.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    with contextlib.chdir(here):
        with contextlib.closing(sqlite3.connect("sales.sqlite")) as made:
            made.executescript(ORDERS)
        with duckdb.connect("sales.duckdb") as also:
            also.execute(ORDERS)
        yield here


def listing(folder: Path) -> dict[str, bytes]:
    """Return all files with their content."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_value_of_the_first_row_counts(engine: str) -> None:
    def code(query: str) -> int:
        return ask(engine, f"sales.{engine}", query, None).code

    assert code("select count(*) = 1, 'more' from orders") == READY
    assert code("select true union all select false") == READY
    assert code("select count(*) = 9 from orders -- the end\n;\n") == DRIFTED
    assert code("select 'üü;' = '' -- x\n; -- the ; end\n /* of it */") == DRIFTED
    assert code("with x as (select id = 1 as holds from orders) select holds from x") == READY


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select true where false", "the query gave no row"),
        ("select null", "the query gave NULL"),
        ("select 'perhaps'", "the query gave the text 'perhaps', which is no boolean"),
        ("select nope from orders", "nope"),
        ("select true from missing", "missing"),
        ("selec true", "selec"),
        ("", ""),
        (";", ""),
        ("-- nothing", ""),
    ],
)
def test_what_gives_no_boolean_is_unknown_with_a_reason(engine: str, query: str, reason: str) -> None:
    said = ask(engine, f"sales.{engine}", query, None)
    assert said.code == UNKNOWN
    assert reason in said.reason and said.reason


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_is_found_below_the_workspace_alone(engine: str, workspace: Path) -> None:
    (workspace / "deep").mkdir()
    (workspace / "deep" / "link").symlink_to(f"../sales.{engine}")
    (workspace / "out").symlink_to("../secret.txt")
    (workspace / "around").symlink_to(workspace.parent)
    assert ask(engine, "deep/link", "select true", None).code == READY
    for path in ("out", "../secret.txt", "around/secret.txt", "/etc/passwd", str(workspace.parent / "secret.txt")):
        assert ask(engine, path, "select true", None).reason == f"{path} leads out of the workspace"


@pytest.mark.parametrize("engine", ENGINES)
def test_names_with_signs_in_them_are_names(engine: str, workspace: Path) -> None:
    names = ("b#c", "d%41", "e f", "file:g", "ü", "-h", *(("a?mode=rwc",) if engine == "sqlite" else ()))
    for name in names:
        (workspace / name).write_bytes((workspace / f"sales.{engine}").read_bytes())
        assert ask(engine, name, "select count(*) = 1 from orders", None).code == READY, name


@pytest.mark.parametrize("engine", ENGINES)
def test_the_other_engines_file_is_no_database(engine: str) -> None:
    other = "duckdb" if engine == "sqlite" else "sqlite"
    assert "is no" in ask(engine, f"sales.{other}", "select true", None).reason


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_file_is_unknown(engine: str, workspace: Path) -> None:
    content = bytearray((workspace / f"sales.{engine}").read_bytes())
    content[100:] = b"\xa5" * (len(content) - 100)
    (workspace / f"sales.{engine}").write_bytes(content)
    assert ask(engine, f"sales.{engine}", "select count(*) = 1 from orders", None).code == UNKNOWN


def test_an_engine_that_is_not_known_is_unknown() -> None:
    assert ask("oracle", "sales.sqlite", "select true", None).code == UNKNOWN


@pytest.mark.parametrize(
    "query",
    [
        "copy orders to 'stolen.csv'",
        "select * from query('copy orders to ''stolen.csv''')",
        "export database 'stolen'",
        "attach 'other.duckdb'",
        "attach ':memory:' as m",
        "insert into orders values (3, 3, null)",
        "with x as (insert into orders values (3, 3, null) returning true) select * from x",
        "create table t as select 1",
        "create temp table t as select true",
        "select true from read_csv('../secret.txt')",
        "select true from '../secret.txt'",
        "select true from read_text('../secret.txt')",
        "select true from read_blob('other')",
        "select true from glob('../*')",
        "select true from read_csv('http://127.0.0.1:1/')",
        "install httpfs",
        "load httpfs",
        "load 'evil.duckdb_extension'",
        "set enable_external_access = true",
        "reset lock_configuration",
        "pragma enable_logging",
        "checkpoint",
        "vacuum",
        "call force_checkpoint()",
        "explain analyze select true",
        "select true; copy orders to 'stolen.csv'",
        "create secret (type s3)",
        "select true from connection",
        "select true from os",
    ],
)
def test_a_hostile_query_of_duckdb_reaches_nothing(query: str, workspace: Path) -> None:
    (workspace / "other").write_text("of the same tenant, and yet not of this database")
    before = listing(workspace)
    assert ask("duckdb", "sales.duckdb", query, None).code == UNKNOWN
    assert listing(workspace) == before


@pytest.mark.parametrize(
    "query",
    [
        "attach 'other.sqlite' as other",
        "attach '../secret.txt' as other",
        "detach main",
        "insert into orders values (3, 3, null)",
        "delete from orders",
        "with x as (select 1) delete from orders",
        "create temp table t (x)",
        "create table t (x)",
        "create virtual table t using fts5(x)",
        "vacuum",
        "vacuum into 'stolen.sqlite'",
        "pragma journal_mode = wal",
        "pragma query_only = off",
        "pragma writable_schema = on",
        "pragma trusted_schema = on",
        "pragma user_version = 7",
        "pragma wal_checkpoint",
        "pragma optimize",
        "select load_extension('evil.so')",
        "select fts3_tokenizer('simple')",
        "select true; delete from orders",
        "begin immediate",
        "savepoint s",
        "reindex",
        "analyze",
        "drop table orders",
        "alter table orders rename to stolen",
        "update sqlite_master set sql = ''",
    ],
)
def test_a_hostile_query_of_sqlite_reaches_nothing(query: str, workspace: Path) -> None:
    before = listing(workspace)
    assert ask("sqlite", "sales.sqlite", query, None).code == UNKNOWN
    assert listing(workspace) == before


def test_what_only_reads_is_allowed_in_sqlite() -> None:
    assert (
        ask("sqlite", "sales.sqlite", "select integrity_check = 'ok' from pragma_integrity_check", None).code == READY
    )
    recursive = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9) select max(i) = 9 from n"
    assert ask("sqlite", "sales.sqlite", recursive, None).code == READY
    assert ask("sqlite", "sales.sqlite", "select count(*) = 2 from json_each('[1, 2]')", None).code == READY


def test_a_sqlite_file_in_wal_mode_is_read_and_nothing_is_left_beside_it(workspace: Path) -> None:
    with contextlib.closing(sqlite3.connect("sales.sqlite", isolation_level=None)) as writer:
        writer.execute("pragma journal_mode = wal")
    before = listing(workspace)
    assert ask("sqlite", "sales.sqlite", "select count(*) = 1 from orders", None).code == READY
    assert listing(workspace) == before
    with contextlib.closing(sqlite3.connect("sales.sqlite", isolation_level=None)) as writer:
        writer.execute("insert into orders values (2, 1, null)")
        assert ask("sqlite", "sales.sqlite", "select count(*) = 2 from orders", None).code == READY


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_may_not_be_read_is_unknown(engine: str, workspace: Path) -> None:
    (workspace / f"sales.{engine}").chmod(0)
    assert "cannot be read" in ask(engine, f"sales.{engine}", "select true", None).reason
