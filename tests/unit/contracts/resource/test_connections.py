"""Connections: files of the workspace, profiles of dbt, and servers whose shape is known already."""

from __future__ import annotations

import pytest

from tests.unit.contracts.resource.project import asset, conditions, document, faults_of, only, result_of, the_asset

ASK = conditions("[{name: c, type: SQL, query: SELECT true, interval: 1m}]")
ASSET = asset("{connection: db, onDrift: [{conditions: there}]}")
DBT = document("Connection", "db", "{type: dbt, profile: shop}")
PROFILES = """\
config: {send_anonymous_usage_stats: false}
shop:
  target: dev
  outputs:
    dev: &dev
      type: duckdb
      path: warehouse.duckdb
      threads: 4
    prod:
      <<: *dev
      path: "{{ env_var('SHOP_DB', 'prod/w.duckdb') }}"
    cloud: {type: snowflake, account: x, password: "{{ env_var('PW') }}"}
    memory: {type: duckdb}
    outside: {type: duckdb, path: ../x.duckdb}
    jinja: {type: duckdb, path: "{{ target.name }}.duckdb"}
    unset: {type: duckdb, path: "{{ env_var('GONE') }}.duckdb"}
empty: {}
"""


def connection(spec: str) -> str:
    return document("Connection", "db", spec)


def place(*documents: str, profiles: str = PROFILES, path: str = "profiles.yml", **variables: str) -> tuple[str, str]:
    made = the_asset(ASSET, ASK, *documents, files={path: profiles}, variables=variables)
    probe = made.conditions()[0].probe
    assert probe is not None
    return probe.engine, probe.path


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_file_of_the_workspace(kind: str) -> None:
    assert place(connection(f"{{type: {kind}, path: ./a//b.db}}")) == (kind, "a/b.db")


ELSEWHERE = ["/etc/x.db", "../x.db", "a/../../x.db", "a/../x.db", "~/x.db", "'a\\x.db'", "s3://b/x.db", "md:x"]
NOWHERE = ["':memory:'", "'file:x?mode=rw'", "x/", ".", "''", "'a\tb'", "x" * 513]


@pytest.mark.parametrize("path", ELSEWHERE + NOWHERE)
def test_a_path_that_could_lead_out_of_the_project_is_refused_at_its_place(path: str) -> None:
    fault = only(connection(f"{{type: sqlite, path: {path}}}"))
    assert (fault.code, fault.line, fault.column) == ("bad-path", 4, 28)


SERVERS = {
    "bigquery": "project: p, dataset: d, executionProject: e, method: service-account, keyfile: k, timeout: 1m, "
    "location: EU, identity: i",
    "snowflake": "account: a, user: u, database: d, schema: s, warehouse: w, privateKeyPath: p, role: r, timeout: 1m, "
    "identity: i",
    "postgres": "host: h, port: 5433, database: d, user: u, schema: s, timeout: 1m, identity: i",
}
REQUIRED = {
    "bigquery": ("project", "dataset"),
    "snowflake": ("account", "user", "database", "schema", "warehouse", "privateKeyPath"),
    "postgres": ("host", "database", "user"),
}
IDENTITY = document("Identity", "i", "{type: env, env: {A: b}}")


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_a_server_is_one_fault_that_says_what_is_supported(kind: str) -> None:
    fault = only(ASSET, ASK, connection(f"{{type: {kind}, {SERVERS[kind]}}}"), IDENTITY)
    assert (fault.code, fault.line, fault.column) == ("not-supported", 14, 14)
    assert fault.message == f"connections of type {kind} are not supported yet"
    assert "duckdb and sqlite" in fault.hint


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_a_server_that_no_condition_asks_is_only_pointed_at(kind: str) -> None:
    server = connection(f"{{type: {kind}, {SERVERS[kind]}}}")
    told = document("Conditions", "there", "[{name: c, type: Command, run: [x], interval: 1m}]")
    for rest in ((), (ASSET, told)):
        result = result_of(server, IDENTITY, *rest)
        assert result.encoded is not None
        assert [(one.code, one.line, one.severity) for one in result.warnings] == [("not-supported", 4, "warning")]


def test_a_profile_of_a_server_that_no_condition_asks_is_only_pointed_at() -> None:
    cloud = connection("{type: dbt, profile: shop, target: cloud}")
    result = result_of(cloud, files={"profiles.yml": PROFILES})
    assert result.encoded is not None
    assert [warning.code for warning in result.warnings] == ["not-supported"]
    assert [fault.code for fault in faults_of(cloud, ASSET, ASK, files={"profiles.yml": PROFILES})] == ["not-supported"]


def test_what_an_identity_that_cannot_be_read_would_give_is_not_missed() -> None:
    unset = connection("{type: dbt, profile: shop, target: unset, identity: i}")
    broken = document("Identity", "i", "{type: env, env: {'1': x}}")
    assert only(unset, broken, files={"profiles.yml": PROFILES}).code == "bad-name"
    assert only(unset, files={"profiles.yml": PROFILES}).code == "unknown-reference"


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_the_shape_of_a_server_is_checked(kind: str) -> None:
    written = SERVERS[kind].split(", ")
    required = [
        f for f in written if f[0] != " " and f.split(":")[0] in ("project", "account", "host", "user", "dataset")
    ]
    for one in required:
        rest = ", ".join(field for field in written if field != one)
        asked = faults_of(ASSET, ASK, connection(f"{{type: {kind}, {rest}}}"), IDENTITY)
        assert [fault.code for fault in asked] == ["missing-field", "not-supported"]
        key = one.split(":")[0]
        assert only(connection(f"{{type: {kind}, {rest}, {key}: ''}}"), IDENTITY).code == "wrong-value"


def test_a_wrong_type_is_reported_once_with_the_nearest() -> None:
    fault = only(ASSET, ASK, connection("{type: duck, path: x}"))
    assert (fault.code, fault.line, fault.column) == ("wrong-value", 14, 14)
    assert fault.hint == "did you mean 'duckdb'?"


def test_an_older_shape_without_type_says_what_is_missing() -> None:
    assert "missing-field" in {fault.code for fault in faults_of(connection("{dbtProfile: {profile: p}}"))}


def test_a_profile_of_dbt_leads_to_the_file_of_its_target() -> None:
    assert place(DBT) == ("duckdb", "warehouse.duckdb")
    prod = connection("{type: dbt, profile: shop, target: prod}")
    assert place(prod) == ("duckdb", "prod/w.duckdb")
    assert place(prod, SHOP_DB="other.duckdb") == ("duckdb", "other.duckdb")
    env = document("Identity", "i", "{type: env, env: {SHOP_DB: mine.duckdb}}")
    mine = connection("{type: dbt, profile: shop, target: prod, identity: i}")
    assert place(mine, env, SHOP_DB="other.duckdb") == ("duckdb", "mine.duckdb")


def test_a_variable_without_a_default_is_filled_in_when_it_is_given() -> None:
    spec = connection("{type: dbt, profile: shop, target: unset}")
    assert place(spec, GONE="found") == ("duckdb", "found.duckdb")


def test_profiles_are_read_where_profiles_dir_says() -> None:
    spec = connection("{type: dbt, profile: shop, profilesDir: ./dbt/conf}")
    assert place(spec, path="dbt/conf/profiles.yml") == ("duckdb", "warehouse.duckdb")
    fault = only(spec, files={"profiles.yml": PROFILES})
    assert (fault.code, fault.line) == ("unknown-reference", 4)
    assert "dbt/conf/profiles.yml" in fault.message


def test_profiles_that_no_connection_names_are_not_looked_at() -> None:
    assert result_of(asset("{}"), files={"profiles.yml": "{{{"}).faults == ()


@pytest.mark.parametrize(
    ("target", "code", "file", "line", "words"),
    [
        ("cloud", "not-supported", "resources/x.yaml", 4, "'snowflake'"),
        ("memory", "bad-path", "profiles.yml", 13, "':memory:' is not a file"),
        ("outside", "bad-path", "profiles.yml", 14, "out of the project"),
        ("jinja", "not-supported", "profiles.yml", 15, "Jinja"),
        ("unset", "unset-variable", "profiles.yml", 16, "'GONE'"),
        ("prd", "unknown-reference", "resources/x.yaml", 4, "no target 'prd'"),
    ],
)
def test_a_profile_that_leads_nowhere_says_why(target: str, code: str, file: str, line: int, words: str) -> None:
    written = connection(f"{{type: dbt, profile: shop, target: {target}}}")
    fault = only(written, ASSET, ASK, files={"profiles.yml": PROFILES})
    assert (fault.code, fault.file, fault.line) == (code, file, line)
    assert words in fault.message


def test_a_profile_that_is_not_there_names_the_nearest() -> None:
    fault = only(connection("{type: dbt, profile: shp}"), files={"profiles.yml": PROFILES})
    assert (fault.code, fault.column, fault.hint) == ("unknown-reference", 28, "did you mean 'shop'?")
    fault = only(connection("{type: dbt, profile: confg}"), files={"profiles.yml": PROFILES})
    assert "config" not in fault.hint
    odd = "shop: {target: dev, outputs: {dev: {type: [duckdb]}}}"
    assert only(connection("{type: dbt, profile: shop}"), files={"profiles.yml": odd}).message == "type is not text"
    fault = only(connection("{type: dbt, profile: empty}"), files={"profiles.yml": PROFILES})
    assert (fault.code, "target 'default'" in fault.message) == ("unknown-reference", True)
    assert (fault.file, fault.line, fault.column) == ("resources/x.yaml", 4, 28)


@pytest.mark.parametrize("profiles", ["- a\n", "", "a: [\n", "a: 1\na: 2\n", "--- {}\n--- {}\n", "shop: {target: [x]}"])
def test_profiles_that_cannot_be_read_are_faults_and_nothing_else(profiles: str) -> None:
    assert len(faults_of(DBT, files={"profiles.yml": profiles})) == 1


def test_an_identity_on_a_file_is_pointed_at() -> None:
    result = result_of(ASSET, ASK, connection("{type: duckdb, path: x, identity: i}"), IDENTITY)
    assert result.encoded is not None
    assert [(warning.code, warning.line, warning.column) for warning in result.warnings] == [("ignored", 14, 31)]


def test_a_connection_that_nobody_uses_is_checked_all_the_same() -> None:
    assert only(connection("{type: duckdb, path: x, identity: gone}")).code == "unknown-reference"
