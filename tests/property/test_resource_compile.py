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


WHOLE: dict[str, str] = {
    "nagi.yaml": "defaultTimeout: 1h\nlockTtlSeconds: 60\nstateDir: ./s\nmaxSyncConcurrency: 2\n",
    "dbt/profiles.yml": """\
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: "./{{ env_var('DB', 'w.duckdb') }}"}
""",
    "resources/parts.yaml": """\
apiVersion: nagi.io/v1alpha1
kind: Connection
metadata: {name: files}
spec: {type: sqlite, path: data/x.db}
---
apiVersion: nagi.io/v1alpha1
kind: Connection
metadata: {name: shop}
spec:
  type: dbt
  profile: shop
  profilesDir: dbt
  identity: reader
---
apiVersion: nagi.io/v1alpha1
kind: Identity
metadata: {name: reader}
spec: {type: env, env: {USER: "${WHO}", DB: w.duckdb}}
---
apiVersion: nagi.io/v1alpha1
kind: Sync
metadata: {name: load}
spec:
  identity: reader
  lockKey: warehouse
  orphanTimeout: 1h
  pre: {type: Command, args: [test, -d, data], timeout: 1m}
  run:
    type: Command
    args: [sh, -c, "load {{ sync.what }}"]
    env: {A: "${WHO} $${X} {{ asset.name }}"}
    identity: reader
""",
    "resources/checks.yaml": """\
apiVersion: nagi.io/v1alpha1
kind: Conditions
metadata: {name: fresh}
spec:
  - {name: there, type: Command, run: [test, -f, "{{asset.modelName}}"], interval: 30s, identity: reader}
  - name: whole
    type: SQL
    query: |
      WITH bad AS (SELECT * FROM "{{ asset.modelName }}" WHERE quantity < 0)
      SELECT count(*) = 0 FROM bad
    checkAt: '0 6 * * 1-5'
    timezone: Europe/Berlin
  - {name: new, type: Freshness, maxAge: 1d, interval: 1h, column: "{{ sync.what }}_at", evaluateCacheTtl: 5m}
""",
    "resources/assets.yaml": """\
apiVersion: nagi.io/v1alpha1
kind: Asset
metadata: {name: orders, labels: {team: x}}
spec:
  connection: files
  onDrift: [{conditions: fresh, sync: load, with: {what: loaded}}]
---
apiVersion: nagi.io/v1alpha1
kind: Asset
metadata: {name: revenue}
spec:
  connection: shop
  upstreams: [orders]
  modelName: main.revenue
  autoSync: {onDrift: true, onChange: true}
  upstreamPolicy: all
  onUpstream: load
  onDrift: [{conditions: fresh, sync: load, with: {what: "{{ asset.name }}"}}]
""",
}
GIVEN = {"WHO": "me"}


def whole() -> dict[str, bytes]:
    return {path: text.encode() for path, text in WHOLE.items()}


def test_the_whole_project_compiles() -> None:
    result = compile_project(whole(), GIVEN)
    assert result.faults == ()
    assert [warning.code for warning in result.warnings] == ["ignored"]


def assert_only_faults(files: dict[str, bytes], given: dict[str, str]) -> None:
    result = compile_project(files, given)
    assert (result.encoded is None) == bool(result.faults)
    assert {fault.severity for fault in result.faults} <= {"error"}
    assert {warning.severity for warning in result.warnings} <= {"warning"}
    assert_positions_are_inside(files, (*result.faults, *result.warnings))
    assert compile_project(dict(reversed(files.items())), given) == result
    if result.encoded is not None:
        assert encode(decode(result.encoded)) == result.encoded


pieces_of_text = st.one_of(
    snippets,
    st.text(max_size=6),
    st.sampled_from(["${", "${WHO}", "$${", "{{ sync.what }}", "{{", "}}", "select", ";", "'", '"', "--", "/*", "("]),
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw the whole project with pieces of its texts cut out, doubled, swapped, moved or replaced."""
    texts = dict(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(sorted(texts)))
        text = texts[path]
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + draw(st.sampled_from([0, 1, 5, 40])))))
        source = texts[draw(st.sampled_from(sorted(texts)))]
        origin = draw(st.integers(0, len(source)))
        moved = source[origin : origin + draw(st.sampled_from([1, 5, 40]))]
        texts[path] = text[:start] + draw(st.one_of(pieces_of_text, st.just(""), st.just(moved))) + text[end:]
    return {path: text.encode("utf-8", "replace") for path, text in texts.items()}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(), st.dictionaries(st.sampled_from(["WHO", "X", "1"]), st.text(max_size=5), max_size=2))
def test_a_damaged_project_gives_faults_that_stand_inside_it_and_nothing_else(
    files: dict[str, bytes], given_: dict[str, str]
) -> None:
    assert_only_faults(files, given_)
    assert_only_faults(files, GIVEN)


SQL_WORDS = """
select with as from where ( ) , ; ' " -- /* */ insert into values delete update set merge t x 1 ? $1 union all order by
limit materialized recursive not case when then end cast :: exists in copy pragma load $$ [ ] { } : .
"""
sql_words = st.sampled_from(SQL_WORDS.split())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(sql_words, st.text(max_size=3)), max_size=25), st.sampled_from(["files", "shop"]))
def test_whatever_a_query_says_it_is_accepted_or_refused(words: list[str], connection: str) -> None:
    condition = {"name": "c", "type": "SQL", "query": " ".join(words) or " ", "interval": "1m"}
    head = {"apiVersion": "setpoint.dev/v1alpha1"}
    written = [
        head | {"kind": "Conditions", "metadata": {"name": "q"}, "spec": [condition]},
        head
        | {"kind": "Asset", "metadata": {"name": "z"}}
        | {"spec": {"connection": connection, "onDrift": [{"conditions": "q"}]}},
    ]
    files = whole() | {"resources/z.yaml": yaml.safe_dump_all(written, allow_unicode=True).encode()}
    assert_only_faults(files, GIVEN)
