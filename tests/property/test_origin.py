"""Origins under random manifests: never anything but faults at the Origin, the same bytes for the same project."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.dbt_manifest import read_manifest
from setpoint.contracts.resource.graph import downstreams, topological_order, upstreams_of

SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEAD = "apiVersion: nagi.io/v1alpha1\n"
RESOURCES = (
    HEAD
    + "kind: Connection\nmetadata: {name: w}\nspec: {type: dbt, profile: p}\n---\n"
    + "---\n".join(
        f"{HEAD}kind: Origin\nmetadata: {{name: {name}}}\nspec: {{type: DBT, connection: w, projectDir: {name}}}\n"
        for name in ("one", "two")
    )
)

words = st.sampled_from(["a", "b", "C", "d_e", "a b", "x.y", "", "_", "é", "\x00", "\ud800", "{{ x }}", "n" * 140])
projects = st.sampled_from(["one", "two", "pkg"])
kinds = st.sampled_from(["model", "seed", "snapshot", "test", "analysis", "function"])
ids = st.builds("{}.{}.{}".format, st.sampled_from(["model", "source", "seed", "test"]), projects, words)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
nodes = st.fixed_dictionaries(
    {
        "resource_type": kinds,
        "name": words,
        "package_name": projects,
        "database": st.sampled_from([None, "w", "W"]),
        "schema": st.sampled_from([None, "s", "S", "t"]),
        "alias": st.none() | words,
        "version": st.sampled_from([None, 1, 2.5, "x"]),
        "tags": st.lists(words, max_size=2),
        "depends_on": st.fixed_dictionaries({"nodes": st.lists(ids, max_size=3)}),
        "config": st.fixed_dictionaries({"materialized": st.sampled_from([None, "table", "ephemeral"])}),
        "attached_node": st.none() | ids,
        "test_metadata": st.sampled_from([None, {}]),
    }
)
sources = st.fixed_dictionaries(
    {
        "name": words,
        "source_name": words,
        "package_name": projects,
        "database": st.sampled_from([None, "w"]),
        "schema": st.sampled_from([None, "s", "T"]),
        "identifier": st.none() | words,
    }
)


def manifest(name: object, made: object, read: object, schema: str = "v12") -> Any:
    url = f"https://schemas.getdbt.com/dbt/manifest/{schema}.json"
    return {"metadata": {"dbt_schema_version": url, "project_name": name}, "nodes": made, "sources": read}


manifests = st.builds(
    manifest,
    st.none() | projects,
    st.dictionaries(ids, nodes, max_size=8),
    st.dictionaries(ids, sources, max_size=4),
    st.sampled_from(["v10", "v11", "v12"]),
)


def files(*written: bytes) -> dict[str, bytes]:
    manifests = {f"{name}/target/manifest.json": text for name, text in zip(("one", "two"), written, strict=False)}
    return {"resources/a.yaml": RESOURCES.encode(), **manifests}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def assert_only_faults_at_the_origins(project: dict[str, bytes]) -> None:
    result = compile_project(project)
    assert (result.encoded is None) == bool(result.faults)
    assert {fault.file for fault in (*result.faults, *result.warnings)} <= {"resources/a.yaml", ""}
    lines = RESOURCES.split("\n")
    for fault in (*result.faults, *result.warnings):
        assert not fault.file or "kind: Origin" in "\n".join(lines[max(0, fault.line - 4) : fault.line]), fault
    assert compile_project(project) == result


@SLOW
@given(manifests, manifests)
def test_a_manifest_of_the_right_shape_makes_assets_or_faults(one: Any, two: Any) -> None:
    assert_only_faults_at_the_origins(files(encoded(one), encoded(two)))


@SLOW
@given(manifests, st.data())
def test_a_manifest_with_something_replaced_makes_assets_or_faults(one: Any, data: st.DataObject) -> None:
    place: Any = one
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        deeper = isinstance(place[key], dict | list) and len(place[key]) > 0
        if not deeper or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(anything)
    assert_only_faults_at_the_origins(files(encoded(one), encoded(one)))


@SLOW
@given(st.binary(max_size=200) | anything.map(encoded))
def test_bytes_are_no_manifest_and_say_so(content: bytes) -> None:
    project, messages = read_manifest(content)
    assert (project is None) == bool(messages)
    assert_only_faults_at_the_origins(files(content))


@st.composite
def sound(draw: st.DrawFn) -> Any:
    """Return a manifest without circles whose names are good, and its edges."""
    names = draw(st.lists(st.from_regex(r"\A[a-z]([a-z0-9_]{0,6}[a-z0-9])?\Z"), min_size=1, max_size=8, unique=True))
    made = {}
    for index, name in enumerate(names):
        below = draw(st.lists(st.sampled_from(names[:index]), max_size=3)) if index else []
        made[f"model.one.{name}"] = {
            "resource_type": "model",
            "name": name,
            "package_name": "one",
            "schema": "s",
            "depends_on": {"nodes": [f"model.one.{other}" for other in below]},
        }
    return manifest("one", made, {})


@SLOW
@given(sound())
def test_every_edge_of_dbt_is_an_edge_and_no_other(written: Any) -> None:
    empty = encoded(manifest("two", {}, {}))
    compiled = compile_project(files(encoded(written), empty)).compiled
    assert compiled is not None
    expected = {
        f"one.{node['name']}": {f"one.{unique_id.split('.')[2]}" for unique_id in node["depends_on"]["nodes"]}
        for node in written["nodes"].values()
    }
    assert {name: set(found) for name, found in upstreams_of(compiled).items()} == expected
    assert len(topological_order(upstreams_of(compiled))) == len(downstreams(upstreams_of(compiled)))
