"""What is read of a manifest of dbt, field by field, and where reading ends."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.contracts.limits import ASSETS_MAX
from setpoint.contracts.resource.dbt_manifest import DbtNode, DbtProject, DbtTest, read_manifest
from tests.unit.contracts.resource.dbt import (
    CONNECTION,
    SHOP,
    Nodes,
    assets,
    at,
    check,
    faults,
    manifest,
    model,
    project,
    source,
)


def read(content: bytes) -> DbtProject:
    found, messages = read_manifest(content)
    assert messages == ()
    assert found is not None
    return found


def test_a_model_is_read_with_its_relation_in_lower_case() -> None:
    found = read(manifest(model("Sales", "model.shop.a", alias="T", tags=["x"])))
    assert found.name == "shop"
    assert found.nodes == {
        "model.shop.Sales": DbtNode(
            unique_id="model.shop.Sales",
            kind="model",
            name="Sales",
            path=("Sales",),
            package="shop",
            relation=("duckdb", "warehouse", "shop", "t"),
            tags=("x",),
            depends_on=("model.shop.a",),
        )
    }


def test_a_source_is_read_by_its_table_and_nothing_makes_it() -> None:
    found = read(manifest({}, source("orders", identifier="Orders_Raw")))
    (node,) = found.nodes.values()
    assert (node.kind, node.name, node.path, node.made) == ("source", "Orders_Raw", ("raw", "orders"), False)
    assert node.relation == ("duckdb", "warehouse", "raw", "orders_raw")


@pytest.mark.parametrize("version", ["v10", "v11", "v12", "v20"])
def test_these_versions_of_the_schema_are_read(version: str) -> None:
    assert list(read(manifest(model("a"), schema=version)).nodes) == ["model.shop.a"]


@pytest.mark.parametrize("version", ["v9", "v13", "v1", "latest"])
def test_other_versions_are_refused_and_said(version: str) -> None:
    project, (message,) = read_manifest(manifest({}, schema=version))
    assert project is None
    assert f"manifest/{version}.json" in message


def test_without_a_schema_a_relation_is_not_told_from_others() -> None:
    (node,) = read(manifest(model("a", schema=None))).nodes.values()
    assert node.relation is None
    (node,) = read(manifest(model("a", database=None))).nodes.values()
    assert node.relation == ("duckdb", "", "shop", "a")


def test_an_ephemeral_model_is_no_relation() -> None:
    (node,) = read(manifest(model("a", config={"materialized": "ephemeral"}))).nodes.values()
    assert (node.made, node.relation) == (False, None)


@pytest.mark.parametrize(
    ("more", "depends_on", "tests"),
    [
        ({}, ["model.shop.a"], "model.shop.a"),
        ({}, ["model.shop.a", "model.shop.a"], "model.shop.a"),
        ({}, ["model.shop.a", "model.shop.b"], None),
        ({}, [], None),
        ({"test_metadata": {"name": "x"}}, ["model.shop.a", "source.shop.raw.b"], "source.shop.raw.b"),
        ({"attached_node": "model.shop.a"}, ["model.shop.a", "model.shop.b"], "model.shop.a"),
    ],
)
def test_what_a_test_is_a_test_of(more: dict[str, Any], depends_on: list[str], tests: str | None) -> None:
    assert read(manifest(check("t", *depends_on, **more))).tests == (DbtTest("test.shop.t", "t", tests),)


def test_what_is_no_asset_keeps_what_it_depends_on() -> None:
    nodes = check("t", "model.shop.a") | {"analysis.shop.x": {"resource_type": "analysis", "name": "x"}}
    functions = {
        "function.shop.f": {"resource_type": "function", "name": "f", "depends_on": {"nodes": ["seed.shop.s"]}}
    }
    assert read(manifest(nodes, functions=functions)).between == {
        "test.shop.t": ("model.shop.a",),
        "analysis.shop.x": (),
        "function.shop.f": ("seed.shop.s",),
    }


def test_of_many_wrong_nodes_ten_are_told() -> None:
    project, messages = read_manifest(manifest({f"model.shop.{n}": {"name": n} for n in range(50)}))
    assert project is None
    assert len(messages) == 10
    assert messages[0].startswith("model.shop.0 is not as dbt writes it: ")


def test_a_manifest_has_a_bounded_number_of_nodes() -> None:
    many: Nodes = {f"a{n}": {} for n in range(10 * ASSETS_MAX + 1)}
    assert read_manifest(manifest({}, many)) == (None, (f"it has more than {10 * ASSETS_MAX} nodes",))


def test_an_origin_makes_a_bounded_number_of_assets() -> None:
    (fault,) = faults(
        SHOP,
        shop=manifest({f"seed.shop.s{n}": {"resource_type": "seed", "name": f"s{n}"} for n in range(ASSETS_MAX + 1)}),
    )
    assert fault.code == "too-large"
    assert (fault.file, fault.line, fault.column) == at(SHOP, "spec", CONNECTION)


def test_that_nothing_looks_again_is_said_once_of_the_origin_and_not_with_an_interval() -> None:
    sources = source("a") | source("b")
    nodes = check("t", "source.shop.raw.a") | check("u", "source.shop.raw.b")
    content = manifest(nodes | {"seed.shop.s": {"resource_type": "seed", "name": "s"}}, sources)
    (warning,) = project(SHOP, shop=content).warnings
    assert (warning.code, warning.hint) == ("never-due", "give the Origin an interval")
    assert (warning.file, warning.line) == at(SHOP, "metadata", CONNECTION)[:2]
    assert project(SHOP.replace("projectDir", "interval: 1h, projectDir"), shop=content).warnings == ()


def test_circles_of_what_is_no_asset_end() -> None:
    functions = {
        f"function.shop.{name}": {
            "resource_type": "function",
            "name": name,
            "depends_on": {"nodes": [f"function.shop.{other}"]},
        }
        for name, other in (("f", "g"), ("g", "f"))
    }
    made = assets(SHOP, shop=manifest(model("a", "function.shop.f"), functions=functions))
    assert made["shop.a"].upstreams == ()
