"""Several dbt projects as one graph: sources that another project makes, and what two cannot both make."""

from __future__ import annotations

from tests.unit.contracts.resource.dbt import (
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
    real,
    source,
)


def test_a_source_that_another_project_makes_is_that_projects_asset_in_whatever_case() -> None:
    made = assets(SHOP, FINANCE, shop=real(), finance=real("finance.v12"))
    assert made["finance.forecast"].upstreams == ("shop.daily_revenue",)
    assert "finance.shop.revenue" not in made
    assert made["finance.shop.budget"].upstreams == ()


def test_the_tests_of_such_a_source_are_watched_on_the_asset_that_it_is() -> None:
    revenue = assets(SHOP, FINANCE, shop=real(), finance=real("finance.v12"))["shop.daily_revenue"]
    own, guests = revenue.pairs
    assert own.sync is not None
    assert (guests.conditions_name, guests.sync) == ("dbt-tests-finance.shop.revenue", None)
    assert " --project-dir finance " in argv(revenue, "source_not_null_shop_revenue_revenue")


def test_tests_of_one_name_in_two_projects_are_two_conditions() -> None:
    name = "not_null"
    shop = manifest(model("a", schema="x") | check(name, "model.shop.a"))
    finance = manifest(
        model("b", project="finance") | check(name, "source.finance.raw.a", project="finance"),
        source("a", project="finance", schema="X", identifier="A"),
        name="finance",
    )
    made = assets(SHOP, FINANCE, shop=shop, finance=finance)["shop.a"]
    names = [condition.name for condition in made.conditions()]
    assert len(set(names)) == 2
    assert all(found.startswith(name) for found in names)


def test_without_the_other_project_the_source_stays_an_asset() -> None:
    made = assets(FINANCE, finance=real("finance.v12"))
    assert made["finance.forecast"].upstreams == ("finance.shop.revenue",)


def test_a_source_of_the_projects_own_relation_stays_an_asset() -> None:
    nodes = model("a", "source.shop.raw.a")
    made = assets(SHOP, shop=manifest(nodes, source("a", schema="shop")))
    assert made["shop.a"].upstreams == ("shop.raw.a",)


def test_a_relation_of_the_same_name_in_another_kind_of_database_is_another_relation() -> None:
    shop = manifest(model("a", schema="x")).replace(b'"duckdb"', b'"snowflake"')
    nodes = model("b", "source.finance.raw.a", project="finance")
    finance = manifest(nodes, source("a", project="finance", schema="x"), name="finance")
    made = assets(SHOP, FINANCE, shop=shop, finance=finance)
    assert made["finance.b"].upstreams == ("finance.raw.a",)


def test_two_origins_that_make_one_relation_are_named_both() -> None:
    shop = manifest(model("a", schema="x", alias="T") | model("b", schema="y"))
    finance = manifest(
        model("c", project="finance", schema="X", alias="t") | model("b", project="finance", schema="y"), name="finance"
    )
    (fault,) = faults(SHOP, FINANCE, shop=shop, finance=finance)
    assert fault.code == "duplicate-name"
    for part in ("model.shop.", "Origin 'shop'", "model.finance.", "Origin 'finance'", "and so for 1 more"):
        assert part in fault.message
    assert (fault.file, fault.line, fault.column) == at(SHOP, "projectDir", CONNECTION)


def test_a_cross_project_ref_leads_to_the_asset_of_the_project_that_makes_it() -> None:
    finance = manifest(model("b", "model.shop.a", project="finance"), name="finance")
    made = assets(SHOP, FINANCE, shop=manifest(model("a")), finance=finance)
    assert made["finance.b"].upstreams == ("shop.a",)


def test_a_model_that_a_manifest_repeats_of_another_project_is_that_projects() -> None:
    nodes = model("a") | model("b", "model.shop.a", project="finance")
    made = assets(SHOP, FINANCE, shop=manifest(model("a")), finance=manifest(nodes, name="finance"))
    assert sorted(made) == ["finance.b", "shop.a"]
    assert made["finance.b"].upstreams == ("shop.a",)


def test_a_package_that_two_projects_build_each_in_their_schema_is_made_by_both() -> None:
    nodes = model("a", schema="finance") | model("b", "model.shop.a", project="finance")
    made = assets(SHOP, FINANCE, shop=manifest(model("a")), finance=manifest(nodes, name="finance"))
    assert made["finance.b"].upstreams == ("finance.a",)


def test_a_circle_through_two_projects_is_found() -> None:
    shop = manifest(model("a", "source.shop.raw.b"), source("b", schema="finance"))
    finance = manifest(model("b", "model.shop.a", project="finance"), name="finance")
    (fault,) = faults(SHOP, FINANCE, shop=shop, finance=finance)
    assert fault.code == "dependency-cycle"
    assert "finance.b -> shop.a -> finance.b" in fault.message


def test_a_test_of_what_another_project_makes_is_watched_there() -> None:
    nodes = model("b", "model.shop.a", project="finance") | check("holds", "model.shop.a", project="finance")
    made = assets(SHOP, FINANCE, shop=manifest(model("a")), finance=manifest(nodes, name="finance"))["shop.a"]
    assert [(pair.conditions_name, pair.sync is None) for pair in made.pairs] == [
        ("shop-dbt-untested", False),
        ("dbt-tests-finance.a", True),
    ]
