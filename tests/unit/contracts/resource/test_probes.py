"""SQL and Freshness conditions: the question they become, and what refuses them before anybody asks."""

from __future__ import annotations

import sqlite3
from datetime import date

import duckdb
import pytest

from setpoint.contracts.limits import QUERY_BYTES_MAX
from setpoint.contracts.probe import Engine, Probe
from setpoint.contracts.resource.query import Judge, newest
from tests.unit.contracts.resource.project import (
    SYNC,
    asset,
    conditions,
    document,
    faults_of,
    only,
    result_of,
    the_asset,
)

DUCK = document("Connection", "db", "{type: duckdb, path: ./data//sales.duckdb}")
LITE = document("Connection", "db", "{type: sqlite, path: sales.db}")
ASSET = asset("{connection: db, modelName: main.orders, onDrift: [{conditions: there, sync: write}]}")


def sql(query: str) -> str:
    return conditions(f"[{{name: c, type: SQL, query: '{query}', interval: 1m}}]")


def flaw(query: str, engine: Engine = "duckdb") -> str:
    found = Judge().flaw(engine, query)
    return found.message if found else ""


def test_a_query_becomes_a_probe_of_the_connection_of_the_asset() -> None:
    (condition,) = the_asset(ASSET, SYNC, DUCK, sql("SELECT count(*) = 0 FROM orders")).conditions()
    assert condition.probe == Probe("duckdb", "data/sales.duckdb", "SELECT count(*) = 0 FROM orders")
    assert (condition.kind, condition.argv, condition.interval_s) == ("SQL", (), 60.0)


def test_templates_work_in_queries_with_any_spacing() -> None:
    query = "SELECT true FROM \"{{asset.modelName}}\" WHERE x <> ''{{  asset.name }}''"
    (condition,) = the_asset(ASSET, SYNC, LITE, sql(query)).conditions()
    assert condition.probe is not None
    assert condition.probe.query == "SELECT true FROM \"main.orders\" WHERE x <> 'a'"
    fault = only(ASSET, SYNC, LITE, sql("SELECT {{ asset.nme }}"))
    assert (fault.code, fault.line) == ("unknown-template-variable", 19)


def test_keys_of_with_work_in_queries_and_columns() -> None:
    entry = asset("{connection: db, onDrift: [{conditions: there, with: {t: orders, c: loaded_at}}]}")
    spec = "[{name: q, type: SQL, query: 'SELECT true FROM {{ sync.t }}'}, " + (
        "{name: f, type: Freshness, interval: 1m, maxAge: 1h, column: '{{ sync.c }}'}]"
    )
    query, fresh = the_asset(entry, LITE, conditions(spec)).conditions()
    assert query.probe is not None
    assert query.probe.query == "SELECT true FROM orders"
    assert fresh.probe is not None
    assert '"loaded_at"' in fresh.probe.query


def test_freshness_asks_for_the_newest_value_of_a_column_of_the_model() -> None:
    spec = "[{name: f, type: Freshness, interval: 1m, maxAge: 90m, column: loaded_at, checkAt: '0 6 * * *'}]"
    (condition,) = the_asset(ASSET, SYNC, DUCK, conditions(spec)).conditions()
    assert condition.probe is not None
    assert condition.probe.max_age_s == 5400.0
    assert condition.probe.query == 'SELECT MAX(newest."loaded_at") FROM "main"."orders" AS newest'
    assert (condition.kind, condition.check_at) == ("Freshness", "0 6 * * *")


@pytest.mark.parametrize("name", ["loaded_at", 'odd "name"', "select", "größe", "a b"])
def test_names_are_quoted_and_a_column_that_is_not_there_is_an_error(name: str) -> None:
    quoted = name.replace('"', '""')
    with sqlite3.connect(":memory:") as database:
        database.execute(f'CREATE TABLE "t {quoted}" ("{quoted}")')
        database.execute(f'INSERT INTO "t {quoted}" VALUES (?)', ("2026-01-01",))
        assert database.execute(newest(f"t {name}", name)).fetchone() == ("2026-01-01",)
        assert database.execute(newest(f"main.t {name}", name)).fetchone() == ("2026-01-01",)
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            database.execute(newest(f"t {name}", "gone"))
    database.close()


@pytest.mark.parametrize("name", ["loaded_at", 'odd "name"', "select"])
def test_duckdb_understands_the_query_for_the_newest_value(name: str) -> None:
    quoted = name.replace('"', '""')
    with duckdb.connect(":memory:") as database:
        database.execute(f'CREATE SCHEMA "s"; CREATE TABLE "s"."t {quoted}" ("{quoted}" DATE)')
        database.execute(f'INSERT INTO "s"."t {quoted}" VALUES (DATE \'2026-01-01\')')
        assert database.execute(newest(f"s.t {name}", name)).fetchone() == (date(2026, 1, 1),)
        with pytest.raises(duckdb.BinderException):
            database.execute(newest(f"s.t {name}", "gone"))


def test_freshness_without_a_column_says_that_one_is_needed() -> None:
    for connection, engine in ((DUCK, "DuckDB"), (LITE, "SQLite")):
        fault = only(ASSET, SYNC, connection, conditions("[{name: f, type: Freshness, interval: 1m, maxAge: 1h}]"))
        assert (fault.code, fault.line, fault.column) == ("missing-field", 19, 18)
        assert fault.message == f"{engine} keeps no time at which a table changed: a column is needed"


@pytest.mark.parametrize(
    "condition", ["type: SQL, query: SELECT 1", "type: Freshness, interval: 1m, maxAge: 1h, column: x"]
)
def test_a_condition_that_asks_a_database_needs_a_connection(condition: str) -> None:
    fault = only(asset(), SYNC, conditions(f"[{{name: c, {condition}}}]"))
    assert (fault.code, fault.line, fault.column) == ("missing-field", 4, 31)
    assert fault.hint == "add connection under spec"


def test_a_missing_sync_does_not_hide_a_missing_connection() -> None:
    faults = faults_of(asset("{onDrift: [{conditions: there, sync: gone}]}"), sql("SELECT true"))
    assert [(fault.code, fault.column) for fault in faults] == [("missing-field", 31), ("unknown-reference", 44)]


def test_a_template_of_a_column_is_checked() -> None:
    spec = "[{name: f, type: Freshness, interval: 1m, maxAge: 1h, column: '{{ asset.nam }}'}]"
    fault = only(ASSET, SYNC, DUCK, conditions(spec))
    assert (fault.code, fault.line, fault.column) == ("unknown-template-variable", 19, 69)


def test_a_connection_that_is_not_there_is_reported_with_the_nearest() -> None:
    fault = only(asset("{connection: DB, onDrift: [{conditions: there}]}"), DUCK, sql("SELECT true"))
    assert (fault.code, fault.line, fault.column) == ("unknown-reference", 4, 20)
    assert fault.hint == "did you mean 'db'?"


READS = [
    "select 1;",
    "(select 1)",
    "((select 1)) -- really",
    "select 1 union all select 2 except select 3",
    "with recursive r as (select 1), s as not materialized (select 2) select * from r, s",
    "with a as ((select 1)) select count(comment) from a where x = ';'",
    "select \"insert\", 'delete from t' from t /* ; drop table t */;",
]


@pytest.mark.parametrize("query", READS)
@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_what_is_one_select_is_accepted(query: str, engine: Engine) -> None:
    assert flaw(query, engine) == ""


def test_duckdb_may_be_written_as_duckdb_is() -> None:
    for query in ("from t", "select * exclude (a) from t qualify row_number() over () = 1", "select {'a': 1}['a'] = 1"):
        assert flaw(query) == ""


WRITES = [
    "insert into t values (1)",
    "with x as (insert into t values (1) returning a) select * from x",
    "with x as (select 1), y as materialized (delete from t returning a) select * from y",
    "with x as ((update t set a = 1 returning a)) select * from x",
    "select 1 into t",
    "select * from t for update",
    "pragma query_only = off",
    "attach 'x' as y",
    "copy t to 'x'",
    "install httpfs",
    "load httpfs",
    "set memory_limit = '1TB'",
    "create table t (a int)",
    "drop table t",
    "vacuum",
    "call f()",
    "explain select 1",
    "begin",
    "merge into t using s on a = b when matched then delete",
    "values (1)",
    "{{.x}}",
]


@pytest.mark.parametrize("query", WRITES)
@pytest.mark.parametrize("engine", ["duckdb", "sqlite"])
def test_what_is_anything_but_a_select_is_refused(
    query: str, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "one SELECT" in flaw(query, engine)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select 1; select 2", "another statement"),
        ("select 1; drop table t;", "another statement"),
        ("selct 1", "begins with 'selct'"),
        ("select 1 from", "does not read as SQL of DuckDB, near 'from'"),
        ("select 'open", "not closed"),
        ("select 1 /* open", "not closed"),
        ("", "no query"),
        ("-- nothing", "no query"),
        ("select", "one SELECT"),
        ("select ?", "parameter"),
        ("select $x", "parameter"),
        ("(" * 5000 + "select 1" + ")" * 5000, "nested too deeply"),
        ("select " + "not " * 5000 + "true", "nested too deeply"),
        ("select " + "decimal(" * 40 + "1" + ")" * 40, "nested too deeply"),
        ("select " + "f(date (" * 40 + "1" + "))" * 40, "nested too deeply"),
        ("select " + "if[" * 40 + "1" + "]" * 40, "nested too deeply"),
        ("select '" + "x" * QUERY_BYTES_MAX + "'", "longer than"),
        ("select '" + "é" * (QUERY_BYTES_MAX // 2) + "'", "longer than"),
    ],
)
def test_what_cannot_be_read_says_why(query: str, words: str) -> None:
    assert words in flaw(query)


def test_what_cannot_be_read_is_shown_where_it_begins() -> None:
    text = "\n- name: c\n  type: SQL\n  query: |\n    select 1\n    from orders nonsense words\n"
    fault = only(ASSET, SYNC, DUCK, conditions(text))
    assert (fault.line, fault.column) == (24, 26)
    assert fault.message == "this does not read as SQL of DuckDB, near 'words' (line 2, column 22 of the query)"


def test_a_query_of_the_greatest_length_is_accepted() -> None:
    assert flaw("select '" + "x" * (QUERY_BYTES_MAX - 9) + "'") == ""


def test_a_flaw_stands_where_it_is_in_a_block() -> None:
    text = "\n- name: c\n  type: SQL\n  query: |\n    select 1\n    from t;\n      drop table t\n"
    fault = only(ASSET, SYNC, DUCK, conditions(text))
    assert (fault.code, fault.line, fault.column) == ("bad-query", 25, 7)
    assert fault.message == "a query is one SELECT; this is another statement (line 3, column 3 of the query)"


@pytest.mark.parametrize(
    ("written", "line", "column"),
    [
        ("select 1; select 2", 19, 46),
        ("'select 1; select 2'", 19, 47),
        ('"select 1; select 2"', 19, 47),
        ('"select\\x201; select 2"', 19, 36),
        ("&q 'select 1; select 2'", 19, 36),
    ],
)
def test_a_flaw_stands_where_it_is_in_a_line_or_where_the_query_begins(written: str, line: int, column: int) -> None:
    fault = only(ASSET, SYNC, DUCK, conditions(f"[{{name: c, type: SQL, query: {written}}}]"))
    assert (fault.line, fault.column) == (line, column)


def test_a_folded_query_is_positioned_where_it_begins() -> None:
    fault = only(ASSET, SYNC, DUCK, conditions("\n- name: c\n  type: SQL\n  query: >\n    select 1;\n    select 2\n"))
    assert (fault.line, fault.column) == (22, 10)


def test_a_flaw_of_a_templated_query_names_the_asset() -> None:
    entry = asset("{connection: db, onDrift: [{conditions: there, with: {t: t; drop table t}}]}")
    fault = only(entry, DUCK, sql("select true from {{ sync.t }}"))
    assert (fault.code, fault.line) == ("bad-query", 14)
    assert "another statement" in fault.message
    assert fault.message.endswith("as asset a fills it in")


def test_a_shared_condition_is_judged_for_each_name_that_could_make_a_difference() -> None:
    judge = Judge()
    assert judge.flaw("duckdb", "select * from orders", frozenset({"orders"})) is None
    assert judge.flaw("duckdb", "select * from customers", frozenset({"customers"})) is None
    assert judge.flaw("duckdb", "select 1 x", frozenset({"x"})) is None
    assert judge.flaw("duckdb", "select 1 union", frozenset({"union"})) is not None
    assert judge.flaw("duckdb", "select 1 x-1", frozenset({"x-1"})) is not None
    assert judge.flaw("sqlite", "select * from orders", frozenset({"orders"})) is None


def test_the_query_is_a_part_of_the_digest() -> None:
    one = the_asset(ASSET, SYNC, DUCK, sql("SELECT true"))
    assert one.digest == the_asset(ASSET, SYNC, DUCK, sql("SELECT true")).digest
    assert one.digest != the_asset(ASSET, SYNC, DUCK, sql("SELECT false")).digest
    assert one.digest != the_asset(ASSET, SYNC, LITE, sql("SELECT true")).digest


def test_a_condition_that_is_used_by_many_assets_is_judged_for_each_database() -> None:
    other = document("Connection", "other", "{type: sqlite, path: x.db}")
    second = asset("{connection: other, onDrift: [{conditions: there, sync: write}]}", "b")
    result = result_of(ASSET, second, SYNC, DUCK, other, sql("from t"))
    assert result.faults == ()
