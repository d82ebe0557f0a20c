"""Compile under random projects and random bytes: it is deterministic, exact about cycles, and never raises."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.compile import compile_project
from setpoint.contracts.resource.graph import cycles, downstreams, topological_order, upstreams_of
from setpoint.contracts.resource.model import decode, encode

Graph = dict[str, list[str]]

SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

names = st.from_regex(r"\A[a-z0-9]([a-z0-9._-]{0,6}[a-z0-9])?\Z")


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool) -> Graph:
    nodes = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    graph: Graph = {}
    for index, node in enumerate(nodes):
        allowed = nodes[:index] if acyclic else nodes
        graph[node] = draw(st.lists(st.sampled_from(allowed), max_size=4)) if allowed else []
    return graph


def documents(graph: Graph, seed: int = 0) -> list[dict[str, Any]]:
    def resource(kind: str, name: str, spec: object) -> dict[str, Any]:
        return {"apiVersion": "nagi.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    condition = {"name": "there", "type": "Command", "run": ["test", "-f", "{{ asset.name }}"], "interval": seed + 1}
    made = [
        resource("Conditions", "c", [condition]),
        resource("Sync", "s", {"run": {"type": "Command", "args": ["touch", "{{sync.file}}"]}}),
    ]
    pair = {"conditions": "c", "sync": "s", "with": {"file": "{{ asset.name }}"}}
    return made + [
        resource("Asset", node, {"upstreams": upstreams, "onDrift": [pair] if index % 3 else []})
        for index, (node, upstreams) in enumerate(graph.items())
    ]


def as_files(written: list[dict[str, Any]]) -> dict[str, bytes]:
    return {
        f"resources/{n % 3}.yaml": yaml.safe_dump_all(
            written[n % 3 :: 3], allow_unicode=True, default_style='"'
        ).encode()
        for n in range(min(3, len(written)))
    }


def assert_positions_are_inside(files: dict[str, bytes], faults: tuple[Fault, ...]) -> None:
    for fault in faults:
        if not fault.file:
            continue
        lines = files[fault.file].decode("utf-8", "replace").split("\n")
        assert 1 <= fault.line <= len(lines), fault
        assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1, fault


@SLOW
@given(graphs(acyclic=True), st.randoms(use_true_random=False))
def test_every_acyclic_project_compiles_and_order_does_not_matter(graph: Graph, random: Any) -> None:
    written = documents(graph)
    result = compile_project(as_files(written))
    assert result.faults == ()
    assert result.encoded is not None
    random.shuffle(written)
    assert compile_project(as_files(written)).encoded == result.encoded
    compiled = decode(result.encoded)
    assert encode(compiled) == result.encoded
    assert list(compiled.assets) == sorted(graph)
    assert upstreams_of(compiled) == {node: tuple(sorted(set(graph[node]))) for node in graph}


@SLOW
@given(graphs(acyclic=False))
def test_cycles_are_found_exactly(graph: Graph) -> None:
    files = as_files(documents(graph))
    faults = compile_project(files).faults
    found = cycles(graph)
    assert [fault.code for fault in faults] == ["dependency-cycle"] * len(found)
    assert_positions_are_inside(files, faults)
    for walk in found:
        assert len(set(walk)) == len(walk)
        for node, upstream in zip(walk, (*walk[1:], walk[0]), strict=True):
            assert upstream in graph[node]


@given(graphs(acyclic=True))
def test_the_order_puts_every_asset_after_its_upstreams(graph: Graph) -> None:
    order = topological_order(graph)
    assert sorted(order) == sorted(graph)
    place = {node: index for index, node in enumerate(order)}
    assert all(place[upstream] < place[node] for node in graph for upstream in graph[node])
    below = downstreams(graph)
    assert {(u, n) for n in graph for u in graph[n]} == {(u, n) for u in below for n in below[u]}


@SLOW
@given(graphs(acyclic=True), st.integers(0, 3))
def test_a_change_of_what_is_shared_changes_exactly_the_assets_that_use_it(graph: Graph, seed: int) -> None:
    before = compile_project(as_files(documents(graph))).compiled
    after = compile_project(as_files(documents(graph, seed))).compiled
    assert before is not None
    assert after is not None
    for name, asset in before.assets.items():
        same = asset.digest == after.assets[name].digest
        assert same == (seed == 0 or not asset.pairs)


@SLOW
@given(
    st.dictionaries(st.sampled_from(["setpoint.yaml", "resources/a.yaml", "resources/b.yml"]), st.binary(max_size=300))
)
def test_bytes_never_raise(files: dict[str, bytes]) -> None:
    result = compile_project(files)
    assert (result.encoded is None) == bool(result.faults)
    assert_positions_are_inside(files, result.faults)


PUNCTUATION = (
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "'",
    '"',
    "|\n",
    ">\n",
    "? ",
    "# ",
    "---\n",
    "...\n",
    "\t",
    "\r",
)
WORDS = (
    "&a ",
    "*a",
    "!!int ",
    "1h",
    "\u2028",
    "\x85",
    "é",
    "😀",
    "\\0",
    "%YAML 1.2\n",
    "{{ asset.name }}",
    "{{ x",
    "name: a",
)
LINES = ("apiVersion: nagi.io/v1alpha1\n", "kind: Asset\n", "metadata: {name: a}\n", "spec:\n", "upstreams", "run: [x]")
snippets = st.sampled_from([*PUNCTUATION, *WORDS, *LINES])


@settings(max_examples=300, deadline=None)
@given(st.lists(snippets, max_size=40))
def test_pieces_of_manifests_never_raise_and_faults_stand_inside(pieces: list[str]) -> None:
    files = {"resources/a.yaml": "".join(pieces).encode(), "setpoint.yaml": "".join(pieces[::2]).encode()}
    result = compile_project(files)
    assert (result.encoded is None) == bool(result.faults)
    assert_positions_are_inside(files, result.faults)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@SLOW
@given(graphs(acyclic=True), st.data())
def test_a_project_with_something_replaced_never_raises(graph: Graph, data: st.DataObject) -> None:
    written = documents(graph)
    place: Any = data.draw(st.sampled_from(written))
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        deeper = isinstance(place[key], dict | list) and len(place[key]) > 0
        if not deeper or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(values)
    files = as_files(written)
    result = compile_project(files)
    assert (result.encoded is None) == bool(result.faults)
    assert_positions_are_inside(files, result.faults)
