"""Origins of type DBT: the assets, edges, labels and commands that a real manifest stands for, and what is wrong."""

from __future__ import annotations

import pytest

from setpoint.contracts.limits import DBT_MANIFESTS_BYTES_MAX
from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.origin_files import is_manifest, manifest_of, mentions_origin
from tests.unit.contracts.resource.dbt import (
    API,
    CONNECTION,
    FINANCE,
    SHOP,
    argv,
    assets,
    at,
    check,
    faults,
    manifest,
    model,
    project,
    real,
    run,
    source,
)

DBT = "--project-dir shop --profile shop --target dev"


@pytest.mark.parametrize("schema", ["v10", "v11", "v12"])
def test_a_real_project_compiles_to_its_assets_and_edges(schema: str) -> None:
    made = assets(SHOP, shop=real(f"shop.{schema}"))
    assert {name: asset.upstreams for name, asset in made.items()} == {
        "shop.countries": (),
        "shop.daily_revenue": ("shop.countries", "shop.orders.v2"),
        "shop.orders.v1": ("shop.paid_orders",),
        "shop.orders.v2": ("shop.paid_orders",),
        "shop.paid_orders": ("shop.stg_orders", "shop.stg_payments"),
        "shop.payments_history": ("shop.stg_payments",),
        "shop.raw.orders": (),
        "shop.raw.payments": (),
        "shop.stg_orders": ("shop.raw.orders",),
        "shop.stg_payments": ("shop.raw.payments",),
    }
    assert {name: asset.model_name for name, asset in made.items() if name != f"shop.{asset.model_name}"} == {
        "shop.raw.orders": "orders_raw",
        "shop.raw.payments": "payments_raw",
    }


def test_every_version_of_dbt_gives_the_same_assets() -> None:
    assert assets(SHOP, shop=real("shop.v10")) == assets(SHOP, shop=real("shop.v12"))
    assert assets(SHOP, shop=real("shop.v11")) == assets(SHOP, shop=real("shop.v12"))


def test_tags_become_labels() -> None:
    made = assets(SHOP, shop=real())
    assert made["shop.daily_revenue"].labels == {"dbt/nightly": "", "dbt/finance": ""}
    assert made["shop.raw.orders"].labels == {"dbt/raw": ""}
    assert made["shop.countries"].labels == {}


def test_each_test_of_a_model_is_a_condition_and_dbt_run_its_sync() -> None:
    orders = assets(SHOP, shop=real())["shop.stg_orders"]
    (pair,) = orders.pairs
    assert pair.conditions_name == "dbt-tests-shop.stg_orders"
    names = ("not_null_stg_orders_order_id", "relationships_stg_orders_country__code__ref_countries_")
    assert [condition.name for condition in pair.conditions] == [*names, "unique_stg_orders_order_id"]
    assert argv(orders, names[0]) == f"dbt test --select {names[0]} {DBT}"
    assert pair.sync is not None
    assert pair.sync.name == "shop-dbt-run"
    assert run(orders) == f"dbt run --select stg_orders {DBT}"


def test_a_version_of_a_model_is_an_asset_of_its_own() -> None:
    made = assets(SHOP, shop=real())
    assert run(made["shop.orders.v1"]) == f"dbt run --select orders.v1 {DBT}"
    assert [condition.name for condition in made["shop.orders.v2"].conditions()] == ["unique_orders_v2_order_id"]


def test_seeds_and_snapshots_are_assets_with_commands_of_their_own() -> None:
    made = assets(SHOP, shop=real())
    assert run(made["shop.countries"]) == f"dbt seed --select countries {DBT}"
    assert argv(made["shop.countries"], "unique_countries_code").startswith("dbt test --select unique_countries_code ")
    assert run(made["shop.payments_history"]) == f"dbt snapshot --select payments_history {DBT}"


def test_a_singular_test_belongs_to_the_one_model_it_reads() -> None:
    revenue = assets(SHOP, shop=real())["shop.daily_revenue"]
    assert argv(revenue, "revenue_is_not_negative") == f"dbt test --select revenue_is_not_negative {DBT}"


def test_a_test_of_a_source_that_names_another_belongs_to_the_source_it_is_written_at() -> None:
    made = assets(SHOP, shop=real())
    (condition,) = made["shop.raw.payments"].conditions()
    assert condition.name.startswith("source_relationships_raw_payments_order_id")
    assert len(made["shop.raw.orders"].conditions()) == 2


def test_the_tests_of_a_source_are_watched_and_nothing_is_run_for_them() -> None:
    orders = assets(SHOP, shop=real())["shop.raw.orders"]
    assert [pair.sync for pair in orders.pairs] == [None]
    assert orders.direct_sync() is None


def test_two_origins_with_tested_sources_compile_together() -> None:
    finance = manifest(
        model("costs", "source.finance.raw.bills", project="finance")
        | check("bills_are_paid", "source.finance.raw.bills", project="finance"),
        source("bills", project="finance"),
        name="finance",
    )
    made = assets(SHOP, FINANCE, shop=real(), finance=finance)
    assert [pair.sync for pair in made["finance.raw.bills"].pairs] == [None]
    assert [pair.sync for pair in made["shop.raw.orders"].pairs] == [None]


def test_a_model_without_tests_is_still_run_when_what_it_reads_was_made_anew() -> None:
    payments = assets(SHOP, shop=real())["shop.stg_payments"]
    assert [" ".join(condition.argv) for condition in payments.conditions()] == ["true"]
    assert run(payments) == f"dbt run --select stg_payments {DBT}"


def test_what_dbt_has_no_command_to_make_is_passed_through_or_watched() -> None:
    config = {"materialized": "ephemeral"}
    nodes = model("part", config=config) | model("tested", config=config) | check("holds", "model.shop.tested")
    made = assets(SHOP, shop=manifest(nodes, source("untested")))
    assert made["shop.part"].pairs == ()
    assert made["shop.raw.untested"].pairs == ()
    assert [pair.sync for pair in made["shop.tested"].pairs] == [None]


def test_a_name_of_a_test_that_is_too_long_for_a_condition_is_cut_and_selected_whole() -> None:
    revenue = assets(SHOP, shop=real())["shop.daily_revenue"]
    long = next(found for found in revenue.conditions() if found.name.startswith("accepted_values"))
    assert len(long.name) == 128
    assert long.argv[3].endswith("__Poland__Luxembourg__Belgium")


def test_default_sync_stands_for_dbt_run_and_may_name_the_model() -> None:
    args = "args: [dbt, build, -s, '{{ sync.what }}']"
    sync = API + f"kind: Sync\nmetadata: {{name: build}}\nspec: {{run: {{type: Command, {args}}}}}\n"
    default = "projectDir: shop, defaultSync: {sync: build, with: {what: '+{{ asset.modelName }}'}}"
    origin = SHOP.replace("projectDir: shop", default)
    made = assets(origin, sync, shop=real())
    assert run(made["shop.daily_revenue"]) == "dbt build -s +daily_revenue"
    assert run(made["shop.countries"]).startswith("dbt seed ")


def test_auto_sync_env_interval_and_the_connection_reach_what_is_made() -> None:
    identity = API + "kind: Identity\nmetadata: {name: robot}\nspec: {type: env, env: {DBT_USER: robot}}\n"
    connection = CONNECTION.replace("target: dev", "profilesDir: ., identity: robot").replace("warehouse", "w")
    extra = "connection: w, autoSync: false, interval: 15m, env: {DBT_THREADS: '1'}"
    orders = assets(connection, identity, SHOP.replace("connection: warehouse", extra), shop=real())["shop.stg_orders"]
    assert not orders.auto_sync_on_drift
    assert {condition.interval_s for condition in orders.conditions()} == {900.0}
    env = (("DBT_THREADS", "1"), ("DBT_USER", "robot"))
    assert {condition.env for condition in orders.conditions()} == {env}
    sync = orders.direct_sync()
    assert sync is not None
    assert sync.run.env == env
    assert run(orders) == "dbt run --select stg_orders --project-dir shop --profile shop --profiles-dir ."


def test_a_project_at_the_root_is_found() -> None:
    origin = SHOP.replace("projectDir: shop", "projectDir: .")
    missing = faults(origin, shop=real())
    assert [fault.message for fault in missing] == ["there is no target/manifest.json among the files of the project"]


def test_edges_through_what_is_no_asset_are_kept() -> None:
    nodes = model("orders", "function.shop.tax") | model("rates")
    functions = {
        "function.shop.tax": {"resource_type": "function", "name": "tax", "depends_on": {"nodes": ["model.shop.rates"]}}
    }
    made = assets(SHOP, shop=manifest(nodes, functions=functions))
    assert made["shop.orders"].upstreams == ("shop.rates",)


def test_names_are_put_into_lower_case_and_the_model_keeps_its_own() -> None:
    made = assets(SHOP, shop=manifest(model("Daily Sales")))
    assert made["shop.daily_sales"].model_name == "Daily Sales"


def test_a_missing_manifest_says_what_to_run() -> None:
    (fault,) = faults(SHOP)
    assert (fault.code, fault.message) == (
        "dbt-manifest",
        "there is no shop/target/manifest.json among the files of the project",
    )
    assert fault.hint == "'dbt parse' (or 'dbt compile') in shop writes it"
    assert (fault.file, fault.line, fault.column) == at(SHOP, "projectDir", CONNECTION)


def test_what_refers_to_an_asset_of_a_missing_manifest_is_not_a_fault_as_well() -> None:
    report = API + "kind: Asset\nmetadata: {name: report}\nspec: {upstreams: [shop.daily_revenue]}\n"
    assert [fault.code for fault in faults(SHOP, report)] == ["dbt-manifest"]
    assert assets(SHOP, report, shop=real())["report"].upstreams == ("shop.daily_revenue",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "this is no manifest of dbt"),
        (b"[" * 100_000, "this is no manifest of dbt"),
        (b"\xff\xfe", "this is no manifest of dbt"),
        (b'{"metadata": {"dbt_schema_version": "https://x/dbt/manifest/v9.json"}, "nodes": {}}', "v10, v11 and v12"),
        (b'{"metadata": {"dbt_schema_version": "https://x/dbt/catalog/v1.json"}, "nodes": {}}', "its schema is"),
        (manifest({"model.shop.a": {"resource_type": "model", "name": 1}}), "model.shop.a is not as dbt writes it"),
        (manifest(model("a", tags=["x", None])), "$.tags[1]"),
        (manifest({}, {"source.shop.raw.a": {"name": "a"}}), "source.shop.raw.a is not as dbt writes it"),
    ],
)
def test_a_manifest_of_another_shape_is_a_fault_at_the_origin(content: bytes, says: str) -> None:
    (fault,) = faults(SHOP, shop=content)
    assert fault.code == "dbt-manifest"
    assert says in fault.message
    assert fault.message.startswith("shop/target/manifest.json: ")
    assert (fault.file, fault.line, fault.column) == at(SHOP, "projectDir", CONNECTION)


def test_a_dependency_that_the_manifest_does_not_have_names_both() -> None:
    (fault,) = faults(SHOP, shop=manifest(model("a", "model.shop.b", "macro.shop.c")))
    assert fault.code == "unknown-reference"
    assert fault.message == "model.shop.a depends on model.shop.b, which the manifest does not have"


def test_a_dependency_on_a_project_that_is_not_there_is_told_unless_it_could_not_be_read() -> None:
    finance = manifest(model("b", "model.shop.a", project="finance"), name="finance")
    assert [fault.code for fault in faults(FINANCE, finance=finance)] == ["unknown-reference"]
    assert [fault.code for fault in faults(SHOP, FINANCE, finance=finance)] == ["dbt-manifest"]


@pytest.mark.parametrize(
    ("nodes", "code", "names"),
    [
        (model("a_"), "bad-name", "model.shop.a_"),
        (model("a", tags=[" "]), "bad-name", "model.shop.a"),
        (model("a" * 130), "bad-name", "model.shop.aaa"),
        (model("a") | model("A"), "duplicate-name", "model.shop.A"),
        (model("a", "model.shop.b") | model("b", "model.shop.a"), "dependency-cycle", "model.shop.a"),
    ],
)
def test_what_is_wrong_with_something_made_stands_at_the_origin_and_names_its_unique_id(
    nodes: dict[str, dict[str, object]], code: str, names: str
) -> None:
    (fault,) = faults(SHOP, shop=manifest(nodes))
    assert fault.code == code
    assert names in fault.message
    assert (fault.file, fault.line, fault.column) == at(SHOP, "projectDir", CONNECTION)


def test_what_is_wrong_with_the_origin_itself_is_told_once_and_there() -> None:
    origin = SHOP.replace("projectDir: shop", "projectDir: shop, defaultSync: {sync: nope}, env: {A: '{{ nope }}'}")
    found = faults(origin, shop=real())
    assert {fault.code for fault in found} == {"unknown-reference", "unknown-template-variable"}
    places = {(fault.file, fault.line, fault.column) for fault in found}
    assert places == {at(origin, "sync", CONNECTION), at(origin, "A", CONNECTION)}


@pytest.mark.parametrize(("connection", "code"), [("nope", "unknown-reference"), ("duck", "wrong-value")])
def test_an_origin_needs_a_connection_of_type_dbt(connection: str, code: str) -> None:
    duck = API + "kind: Connection\nmetadata: {name: duck}\nspec: {type: duckdb, path: a.duckdb}\n"
    origin = SHOP.replace("connection: warehouse", f"connection: {connection}")
    (fault,) = faults(duck, origin, shop=real())
    assert fault.code == code
    assert (fault.file, fault.line, fault.column) == at(origin, "connection", CONNECTION, duck)


def test_manifests_are_bounded_in_size() -> None:
    (fault,) = faults(SHOP, shop=b" " * (DBT_MANIFESTS_BYTES_MAX + 1))
    assert (fault.code, fault.hint) == ("too-large", "")


def test_a_manifest_is_only_read_when_an_origin_names_it() -> None:
    plain = API + "kind: Asset\nmetadata: {name: a}\nspec: {}\n"
    assert list(assets(plain, shop=b"not read")) == ["a"]


def test_which_files_are_manifests() -> None:
    for directory, path in ((".", "target/manifest.json"), ("dbt/shop", "dbt/shop/target/manifest.json")):
        assert manifest_of(directory) == path
        assert is_manifest(path)
    for path in ("manifest.json", "target/manifest.json.bak", "mytarget/manifest.json", "target/run_results.json"):
        assert not is_manifest(path)
    assert mentions_origin("resources/a.yaml", SHOP.encode())
    assert not mentions_origin("resources/a.yaml", CONNECTION.encode())
    assert not mentions_origin("models/a.sql", SHOP.encode())


def test_a_test_that_reads_several_nodes_is_a_warning_that_names_it() -> None:
    result = project(SHOP, shop=real())
    (warning,) = [fault for fault in result.warnings if fault.code == "dbt-test-of-none"]
    assert "test.shop.revenue_is_the_sum_of_orders" in warning.message
    assert (warning.file, warning.line, warning.column) == at(SHOP, "projectDir", CONNECTION)


SQL = (
    API
    + """kind: Asset
metadata: {name: shop.daily_revenue}
spec: {onDrift: [{conditions: positive}]}
---
apiVersion: nagi.io/v1alpha1
kind: Conditions
metadata: {name: positive}
spec: [{name: positive, type: SQL, query: select count(*) = 0 from daily_revenue where revenue < 0}]
"""
)


@pytest.mark.parametrize(
    ("profiles", "code"),
    [(b"shop: {target: dev, outputs: {dev: {type: snowflake}}}\n", "not-supported"), (None, "unknown-reference")],
)
def test_dbt_may_run_against_any_database_and_only_a_condition_that_asks_it_must_know_it(
    profiles: bytes | None, code: str
) -> None:
    files = {"resources/a.yaml": "---\n".join((CONNECTION, SHOP)).encode(), "shop/target/manifest.json": real()}
    files |= {} if profiles is None else {"profiles.yml": profiles}
    assert compile_project(files).faults == ()
    (fault,) = compile_project(files | {"resources/b.yaml": SQL.encode()}).faults
    assert fault.code == code


def test_a_condition_can_ask_the_database_of_a_dbt_profile() -> None:
    (first, *_) = assets(SHOP, SQL, shop=real())["shop.daily_revenue"].conditions()
    assert first.probe is not None
    assert (first.probe.engine, first.probe.path) == ("duckdb", "warehouse.duckdb")


def test_an_origin_of_a_wrong_shape_is_told_and_not_all_that_refers_to_it() -> None:
    report = API + "kind: Asset\nmetadata: {name: report}\nspec: {upstreams: [shop.daily_revenue, finance.b]}\n"
    finance = manifest(model("b", "model.shop.a", project="finance"), name="finance")
    found = faults(SHOP.replace(", projectDir: shop", ""), FINANCE, report, finance=finance)
    assert [fault.code for fault in found] == ["missing-field"]


def test_a_connection_is_not_missed_while_a_file_cannot_be_read() -> None:
    rest = {"resources/b.yaml": SHOP.encode(), "shop/target/manifest.json": real()}
    hidden = {**rest, "resources/a.yaml": b"name: warehouse\nkind: ["}
    assert [fault.code for fault in compile_project(hidden).faults] == ["yaml.syntax"]
    missing = {**rest, "resources/a.yaml": b"kind: ["}
    assert [fault.code for fault in compile_project(missing).faults] == ["yaml.syntax", "unknown-reference"]


def test_every_missing_connection_is_told() -> None:
    found = faults(SHOP.replace("warehouse", "a"), FINANCE.replace("warehouse", "b"), shop=real(), finance=real())
    assert [fault.message for fault in found] == ["there is no Connection 'a'", "there is no Connection 'b'"]


def test_a_resource_that_has_the_name_of_one_that_is_made_is_a_duplicate() -> None:
    sync = API + "kind: Sync\nmetadata: {name: shop-dbt-run}\nspec: {run: {type: Command, args: [x]}}\n"
    (fault,) = faults(sync, SHOP, shop=real())
    assert fault.code == "duplicate-name"
    assert (fault.file, fault.line, fault.column) == at(SHOP, "projectDir", CONNECTION, sync)


def test_a_missing_identity_is_told_once_of_the_connection_and_once_of_the_origin() -> None:
    connection = CONNECTION.replace("warehouse", "w").replace("target: dev", "identity: nope")
    origin = SHOP.replace("warehouse", "w")
    found = faults(connection, origin, shop=real())
    assert [(fault.message, fault.line, fault.column) for fault in found] == [
        ("there is no Identity 'nope'", *at(connection, "identity", CONNECTION)[1:]),
        ("there is no Identity 'nope'", *at(origin, "connection", CONNECTION, connection)[1:]),
    ]


ASKING = (
    API + "kind: Conditions\nmetadata: {name: k}\nspec: [{name: c, type: SQL, query: 'select {{ asset.modelName }}'}]\n"
)
OVERLAY = (
    API + "kind: Asset\nmetadata: {name: shop.orders}\nspec: {onDrift: [{conditions: k}], onUpstream: shop-dbt-run}\n"
)


@pytest.mark.parametrize("name", ["shop.orders", "Shop.orders", "[x]"])
def test_what_an_origin_that_cannot_be_read_would_say_of_an_asset_is_not_missed(name: str) -> None:
    overlay = OVERLAY.replace("shop.orders", name)
    told = [fault.code for fault in faults(SHOP, ASKING, overlay)]
    assert told[0] == "dbt-manifest"
    assert told[1:] == {"shop.orders": [], "Shop.orders": ["bad-name"], "[x]": ["wrong-type"]}[name]


def test_an_asset_that_no_origin_can_make_lacks_what_it_lacks() -> None:
    told = [fault.code for fault in faults(SHOP, ASKING, OVERLAY.replace("shop.orders", "orders"))]
    assert told == ["dbt-manifest", "missing-field", "unknown-reference"]


def test_every_origin_of_a_name_is_judged() -> None:
    other = SHOP.replace("connection: warehouse", "connection: wherehouse")
    assert [fault.code for fault in faults(SHOP, other, shop=real())] == ["duplicate-name", "unknown-reference"]
