"""The manifest of a dbt project: what of it becomes assets and tests, as checked values. Called by origin.py.

dbt writes ``target/manifest.json`` whenever it parses a project. The file is a stranger's like any other: what is read
of it is checked, the rest is skipped without being built, and nothing in it raises. dbt itself is never run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from setpoint.contracts.limits import ASSETS_MAX
from setpoint.contracts.resource.source import excerpt

Kind = Literal["model", "seed", "snapshot", "source"]
"""The kinds of nodes that become assets."""

Relation = tuple[str, str, str, str]
"""What a node is in its database: adapter, database, schema and identifier, without regard to case."""

_SCHEMA: Final = re.compile(r"/manifest/v([0-9]{1,3})\.json$")
_VERSIONS: Final = frozenset({10, 11, 12, 20})
"""dbt 1.6, 1.7, 1.8 and later; 20 is what dbt Fusion calls its 12."""

_KINDS: Final[Mapping[str, Kind]] = {"model": "model", "seed": "seed", "snapshot": "snapshot"}
_NODES_MAX: Final = 10 * ASSETS_MAX
"""Ten tests to an asset, on average; more would not compile in time."""

_MESSAGES_MAX: Final = 10
_WORDS_CHARS_MAX: Final = 200


@dataclass(frozen=True)
class DbtNode:
    """Something dbt makes or reads. ``depends_on`` are unique ids, of anything.

    ``name`` is what ``dbt --select`` knows it by, and of a source its table; ``path`` are the parts that its asset is
    named by. ``relation`` None: it is none that can be told from others. ``made``: dbt has a command that makes it.
    """

    unique_id: str
    kind: Kind
    name: str
    path: tuple[str, ...]
    package: str
    relation: Relation | None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    made: bool = True


@dataclass(frozen=True)
class DbtTest:
    """A test and the unique id of the node that it is a test of; None when it is about several."""

    unique_id: str
    name: str
    tests: str | None


@dataclass(frozen=True)
class DbtProject:
    """A manifest. ``name`` is the project's own, or empty; ``between`` has what those depend on that are no assets."""

    name: str = ""
    nodes: dict[str, DbtNode] = field(default_factory=dict)
    tests: tuple[DbtTest, ...] = ()
    between: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Metadata(msgspec.Struct):
    dbt_schema_version: str
    project_name: str | None = None
    adapter_type: str | None = None


class _Manifest(msgspec.Struct):
    metadata: _Metadata
    nodes: dict[str, msgspec.Raw]
    sources: dict[str, msgspec.Raw] = {}
    functions: dict[str, msgspec.Raw] = {}


class _DependsOn(msgspec.Struct):
    nodes: list[str] = []


class _Config(msgspec.Struct):
    materialized: str | None = None


class _Generic(msgspec.Struct):
    """What only a generic test has. Nothing of it is needed."""


class _Node(msgspec.Struct):
    resource_type: str
    name: str
    package_name: str = ""
    database: str | None = None
    schema: str | None = None
    alias: str | None = None
    version: str | int | float | None = None
    tags: list[str] = []
    depends_on: _DependsOn = msgspec.field(default_factory=_DependsOn)
    config: _Config = msgspec.field(default_factory=_Config)
    attached_node: str | None = None
    test_metadata: _Generic | None = None


class _Source(msgspec.Struct):
    name: str
    source_name: str
    package_name: str = ""
    database: str | None = None
    schema: str | None = None
    identifier: str | None = None
    tags: list[str] = []


_manifests: Final = msgspec.json.Decoder(_Manifest)
_nodes: Final = msgspec.json.Decoder(_Node)
_sources: Final = msgspec.json.Decoder(_Source)
_REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_manifest(content: bytes) -> tuple[DbtProject | None, tuple[str, ...]]:
    """Read a manifest of schema v10 to v12, or say in a few messages what is wrong with it. Never raises."""
    try:
        manifest = _manifests.decode(content)
    except _REFUSED as error:
        return None, (f"this is no manifest of dbt: {_words(error)}",)
    version = _SCHEMA.search(manifest.metadata.dbt_schema_version)
    if version is None or int(version[1]) not in _VERSIONS:
        written = excerpt(manifest.metadata.dbt_schema_version)
        return None, (f"its schema is {written}; read are v10, v11 and v12 (dbt 1.6 and later)",)
    if len(manifest.nodes) + len(manifest.sources) > _NODES_MAX:
        return None, (f"it has more than {_NODES_MAX} nodes",)
    reader = _Reader(manifest.metadata.adapter_type or "")
    project = DbtProject(
        name=manifest.metadata.project_name or "",
        nodes={node.unique_id: node for node in (*reader.sources(manifest.sources), *reader.nodes(manifest.nodes))},
        tests=tuple(reader.tests),
        between=reader.between | dict(reader.functions(manifest.functions)),
    )
    return (None if reader.messages else project), tuple(reader.messages)


@dataclass
class _Reader:
    adapter: str
    messages: list[str] = field(default_factory=list)
    tests: list[DbtTest] = field(default_factory=list)
    between: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def sources(self, written: Mapping[str, msgspec.Raw]) -> Iterator[DbtNode]:
        for unique_id, source in self._each(written, _sources):
            yield DbtNode(
                unique_id=unique_id,
                kind="source",
                name=source.identifier or source.name,
                path=(source.source_name, source.name),
                package=source.package_name,
                relation=self._relation(source.database, source.schema, source.identifier or source.name),
                tags=tuple(source.tags),
                made=False,
            )

    def nodes(self, written: Mapping[str, msgspec.Raw]) -> Iterator[DbtNode]:
        """Yield what becomes an asset; tests and what is between assets are kept aside."""
        for unique_id, node in self._each(written, _nodes):
            depends_on = tuple(node.depends_on.nodes)
            kind = _KINDS.get(node.resource_type)
            if kind is None and node.resource_type == "test":
                self.tests.append(DbtTest(unique_id, node.name, _tested(node, depends_on)))
            if kind is None:
                self.between[unique_id] = depends_on
                continue
            name = node.name if node.version is None else f"{node.name}.v{node.version}"
            made = node.config.materialized != "ephemeral"
            yield DbtNode(
                unique_id=unique_id,
                kind=kind,
                name=name,
                path=(name,),
                package=node.package_name,
                relation=self._relation(node.database, node.schema, node.alias or node.name) if made else None,
                tags=tuple(node.tags),
                depends_on=depends_on,
                made=made,
            )

    def functions(self, written: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, tuple[str, ...]]]:
        for unique_id, node in self._each(written, _nodes):
            yield unique_id, tuple(node.depends_on.nodes)

    def _each(
        self, written: Mapping[str, msgspec.Raw], decoder: msgspec.json.Decoder[Any]
    ) -> Iterator[tuple[str, Any]]:
        for unique_id, raw in written.items():
            if len(self.messages) >= _MESSAGES_MAX:
                return
            try:
                yield unique_id, decoder.decode(raw)
            except _REFUSED as error:
                self.messages.append(f"{unique_id[:_WORDS_CHARS_MAX]} is not as dbt writes it: {_words(error)}")

    def _relation(self, database: str | None, schema: str | None, identifier: str) -> Relation | None:
        """Name a relation; None without a schema, because then nothing tells it from another's of the same name."""
        if not schema:
            return None
        return self.adapter.casefold(), (database or "").casefold(), schema.casefold(), identifier.casefold()


def _tested(test: _Node, depends_on: tuple[str, ...]) -> str | None:
    """Return what a test is a test of: for a generic one where it is written down, else the only thing it reads.

    dbt lists the node that a generic test is written at last: ``relationships`` names the other table first.
    """
    if test.attached_node:
        return test.attached_node
    generic = test.test_metadata is not None
    return depends_on[-1] if depends_on and (generic or len(set(depends_on)) == 1) else None


def _words(error: Exception) -> str:
    """Say it shortly: decoders name the place and, rarely, quote a piece of the text."""
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:_WORDS_CHARS_MAX]
