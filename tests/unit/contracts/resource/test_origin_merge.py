"""An asset of an Origin that a person writes about, too: field by field, what becomes of the two."""

from __future__ import annotations

import pytest

from setpoint.contracts.resource.model import CompiledAsset
from tests.unit.contracts.resource.dbt import (
    API,
    CONNECTION,
    SHOP,
    assets,
    at,
    check,
    faults,
    manifest,
    model,
    project,
    real,
    run,
)

NAME = "shop.daily_revenue"
OVERLAY = API + f"kind: Asset\nmetadata: {{name: {NAME}}}\nspec: {{}}\n"
FRESH = (
    API
    + "kind: Conditions\nmetadata: {name: %s}\nspec: [{name: %s, type: Command, run: [test, -f, x], interval: 1h}]\n"
)
REPAIR = (
    API
    + "kind: Sync\nmetadata: {name: repair}\nspec: {run: {type: Command, args: [repair, '{{ asset.modelName }}']}}\n"
)


def conditions(name: str) -> str:
    return FRESH % (name, name)


def overlaid(spec: str, *documents: str, origin: str = SHOP) -> CompiledAsset:
    return assets(OVERLAY.replace("spec: {}", f"spec: {{{spec}}}"), *documents, origin, shop=real())[NAME]


def warned(overlay: str, origin: str = SHOP) -> list[tuple[str, int, int]]:
    found = project(overlay, origin, shop=real()).warnings
    return [(fault.file, fault.line, fault.column) for fault in found if fault.code == "origin-value"]


def test_an_overlay_that_says_nothing_changes_nothing() -> None:
    assert overlaid("") == assets(SHOP, shop=real())[NAME]


def test_pairs_stand_before_and_after_those_of_the_origin_in_the_order_written() -> None:
    pairs = (
        "onDrift: [{conditions: a, mergePosition: afterOrigin}, {conditions: b}, {conditions: c, sync: repair},"
        " {conditions: d, mergePosition: afterOrigin}]"
    )
    asset = overlaid(pairs, *map(conditions, "abcd"), REPAIR)
    assert [pair.conditions_name for pair in asset.pairs] == ["b", "c", f"dbt-tests-{NAME}", "a", "d"]
    assert asset.pairs[1].sync is not None
    assert asset.pairs[1].sync.run.argv == ("repair", "daily_revenue")
    assert asset.pairs[2].sync is not None
    assert asset.pairs[2].sync.name == "shop-dbt-run"


def test_the_labels_of_the_origin_stay_and_the_overlay_adds_its_own() -> None:
    overlay = OVERLAY.replace(f"name: {NAME}", f"name: {NAME}, labels: {{team: finance}}")
    asset = assets(overlay, SHOP, shop=real())[NAME]
    assert asset.labels == {"dbt/nightly": "", "dbt/finance": "", "team": "finance"}
    assert warned(overlay) == []


def test_a_label_of_the_origin_keeps_its_value_and_the_overlay_is_warned() -> None:
    overlay = OVERLAY.replace(f"name: {NAME}", f"name: {NAME}, labels: {{dbt/nightly: no}}")
    assert assets(overlay, SHOP, shop=real())[NAME].labels["dbt/nightly"] == ""
    file, line, column = at(overlay, "dbt/nightly", CONNECTION)
    assert warned(overlay) == [(file, line, column - len("dbt/nightly: "))]


def test_the_upstreams_of_the_origin_stay_and_the_overlay_adds_its_own() -> None:
    load = API + "kind: Asset\nmetadata: {name: load}\nspec: {}\n"
    asset = overlaid("upstreams: [load, shop.countries]", load)
    assert asset.upstreams == ("load", "shop.countries", "shop.orders.v2")


def test_a_source_can_be_given_what_loads_it_as_an_upstream() -> None:
    load = API + "kind: Asset\nmetadata: {name: load}\nspec: {}\n"
    overlay = API + "kind: Asset\nmetadata: {name: shop.raw.orders}\nspec: {upstreams: [load]}\n"
    assert assets(overlay, load, SHOP, shop=real())["shop.raw.orders"].upstreams == ("load",)


def test_the_model_name_of_the_origin_stays_and_dbt_runs_the_model() -> None:
    asset = overlaid("evaluateCacheTtl: 1m")
    assert asset.model_name == "daily_revenue"
    assert run(asset).startswith("dbt run --select daily_revenue ")
    overlay = OVERLAY.replace("spec: {}", "spec: {modelName: other}")
    assert assets(overlay, SHOP, shop=real())[NAME].model_name == "daily_revenue"
    assert len(warned(overlay)) == 1


def test_the_connection_of_the_origin_stays() -> None:
    duck = API + "kind: Connection\nmetadata: {name: duck}\nspec: {type: duckdb, path: a.duckdb}\n"
    overlay = OVERLAY.replace("spec: {}", "spec: {connection: duck}")
    assert assets(overlay, duck, SHOP, shop=real())[NAME] == assets(SHOP, shop=real())[NAME]
    assert len(project(overlay, duck, SHOP, shop=real()).warnings) > len(project(duck, SHOP, shop=real()).warnings)


@pytest.mark.parametrize(
    ("of_origin", "of_overlay", "on_drift", "on_change", "warnings"),
    [
        ("", "", True, False, 0),
        ("", "autoSync: false", False, False, 0),
        (", autoSync: false", "", False, False, 0),
        (", autoSync: false", "autoSync: false", False, False, 0),
        (", autoSync: false", "autoSync: true", False, False, 1),
        (", autoSync: true", "autoSync: false", True, False, 1),
        (", autoSync: false", "autoSync: {onDrift: false, onChange: true}", False, True, 0),
    ],
)
def test_auto_sync_is_the_overlays_unless_the_origin_says_so(
    of_origin: str, of_overlay: str, on_drift: bool, on_change: bool, warnings: int
) -> None:
    origin = SHOP.replace("projectDir: shop", f"projectDir: shop{of_origin}")
    asset = overlaid(of_overlay, origin=origin)
    assert (asset.auto_sync_on_drift, asset.auto_sync_on_change) == (on_drift, on_change)
    overlay = OVERLAY.replace("spec: {}", f"spec: {{{of_overlay}}}")
    assert len(warned(overlay, origin)) == warnings


def test_what_the_origin_leaves_open_is_the_overlays() -> None:
    asset = overlaid(
        "onUpstream: repair, upstreamPolicy: all, evaluateCacheTtl: 5m, onDrift: [{conditions: a, sync: repair}]",
        conditions("a"),
        REPAIR,
    )
    assert (asset.on_upstream, asset.upstream_policy) == ("repair", "all")
    assert {condition.cache_ttl_s for condition in asset.conditions()} == {300.0}


def test_merge_position_without_an_origin_means_nothing() -> None:
    plain = API + "kind: Asset\nmetadata: {name: a}\nspec: {onDrift: [{conditions: c, mergePosition: afterOrigin}]}\n"
    assert [pair.conditions_name for pair in assets(plain, conditions("c"))["a"].pairs] == ["c"]


def test_faults_of_an_overlay_stand_in_it_and_faults_of_the_origin_there() -> None:
    overlay = OVERLAY.replace(
        "spec: {}", "spec: {upstreams: [nope], onDrift: [{conditions: missing, mergePosition: afterOrigin}]}"
    )
    found = faults(overlay, SHOP, shop=real())
    assert {(fault.code, fault.file, fault.line, fault.column) for fault in found} == {
        ("unknown-reference", *at(overlay, "conditions", CONNECTION)),
        (
            "unknown-reference",
            at(overlay, "upstreams", CONNECTION)[0],
            at(overlay, "upstreams", CONNECTION)[1],
            at(overlay, "upstreams", CONNECTION)[2] + 1,
        ),
    }
    circle = OVERLAY.replace(NAME, "shop.a").replace("spec: {}", "spec: {evaluateCacheTtl: 1m}")
    nodes = model("a", "model.shop.b") | model("b", "model.shop.a")
    (fault,) = faults(circle, SHOP, shop=manifest(nodes))
    assert (fault.code, fault.file, fault.line, fault.column) == (
        "dependency-cycle",
        *at(SHOP, "projectDir", CONNECTION, circle),
    )


def test_what_is_of_a_wrong_type_is_not_also_told_to_be_in_vain() -> None:
    overlay = OVERLAY.replace("spec: {}", "spec: {modelName: 5}")
    assert [fault.code for fault in faults(overlay, SHOP, shop=real())] == ["wrong-type"]
    assert warned(overlay) == []


def test_what_only_the_origin_says_is_at_fault_there() -> None:
    tests = {name: node for n in range(198) for name, node in check(f"t{n}", "model.shop.a").items()}
    overlay = OVERLAY.replace(NAME, "shop.a")
    (fault,) = faults(overlay, SHOP, shop=manifest(model("a") | tests))
    assert fault.code == "too-large"
    assert (fault.file, fault.line, fault.column) == at(SHOP, "projectDir", CONNECTION, overlay)


def test_what_the_origin_itself_says_is_at_fault_there_for_an_overlaid_asset_too() -> None:
    origin = SHOP.replace("projectDir: shop", "projectDir: shop, defaultSync: {sync: nope}")
    found = faults(OVERLAY, origin, shop=real())
    assert {(fault.code, fault.file, fault.line, fault.column) for fault in found} == {
        ("unknown-reference", *at(origin, "sync", CONNECTION, OVERLAY))
    }


def test_an_overlay_of_a_wrong_shape_is_told_once() -> None:
    overlay = OVERLAY.replace("spec: {}", "spec: {upstreams: 1}")
    assert [fault.code for fault in faults(overlay, SHOP, shop=real())] == ["wrong-type"]


def test_two_overlays_of_one_asset_are_one_too_many() -> None:
    (fault,) = faults(OVERLAY, OVERLAY, SHOP, shop=real())
    assert fault.code == "duplicate-name"


def test_a_watched_pair_in_front_can_leave_the_origins_sync_to_the_upstreams() -> None:
    watched = "onDrift: [{conditions: a}]"
    assert overlaid(watched, conditions("a")).direct_sync() is None
    sync = overlaid(f"{watched}, onUpstream: shop-dbt-run", conditions("a")).direct_sync()
    assert sync is not None
    assert sync.name == "shop-dbt-run"
