"""YAML 1.2 (core schema) into plain values with the place of each, within bounds. Called by compile.

Input is hostile. libyaml's composer recurses natively and takes the process with it on a deep nest, so the event
parser, which does not recurse, looks at the depth first; aliases multiply, so the budget of nodes is spent while
values are built. Nothing here knows what a resource is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from setpoint.contracts.limits import YAML_ALIASES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.source import Source, excerpt

Path = tuple[str | int, ...]
"""The way to a value: keys and indices from the root of its document."""

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMBER_CHARS_MAX = 40

_CORE: Final = "tag:yaml.org,2002:"


class _CoreLoader(_LOADER):  # type: ignore[misc]  # the C loader where libyaml is there, else the pure one
    """A loader whose plain scalars follow the core schema: no, on, 1:30 and dates are strings.

    The library looks up tags by the way to a node as well; nobody here does, and without it reading is a third quicker.
    """

    yaml_implicit_resolvers: Mapping[str, Any] = {}

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode:
            for tag, pattern in self.yaml_implicit_resolvers.get(value[:1], ()) if implicit[0] else ():
                if pattern.match(value):
                    return str(tag)
            return f"{_CORE}str"
        return f"{_CORE}seq" if kind is yaml.SequenceNode else f"{_CORE}map"

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


for _tag, _pattern, _first in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(rf"(?:{_INT.pattern})$"), list("-+0123456789")),
    ("float", re.compile(rf"(?:{_FLOAT.pattern})$"), list("-+.0123456789")),
):
    _CoreLoader.add_implicit_resolver(_CORE + _tag, _pattern, _first)


@dataclass(frozen=True)
class Document:
    """One YAML document. ``places`` has for each path the offsets of its key (or value) and of its value.

    ``holes`` are the paths of what could not be read or is of a wrong shape, which has been reported.
    """

    source: Source
    value: object
    places: Mapping[Path, tuple[int, int]]
    holes: frozenset[Path] = field(default=frozenset(), kw_only=True)

    def is_whole(self, path: Path) -> bool:
        """Tell whether no hole is at, under or above this path: whether what is missing there is truly missing."""
        return not any(hole[: len(path)] == path[: len(hole)] for hole in self.holes)

    def nearest(self, loc: Path) -> Path:
        """Return the longest path in the document that ``loc`` leads to; parts that are not there are left out."""
        path: Path = ()
        for part in loc:
            if (*path, part) in self.places:
                path = (*path, part)
        return path

    def at(self, path: Path) -> Any:
        """Return the value at the longest path in the document that ``path`` leads to."""
        value: Any = self.value
        for part in self.nearest(path):
            value = value[part]
        return value

    def fault(self, code: str, message: str, path: Path, hint: str = "", *, at_key: bool = False) -> Fault:
        """Make a fault at a value of this document, or at its key."""
        key, value = self.places[self.nearest(path)]
        return self.source.fault(code, message, key if at_key else value, hint)

    def warning(self, code: str, message: str, path: Path, hint: str = "", *, at_key: bool = False) -> Fault:
        """Make the fault of something that is accepted all the same."""
        return replace(self.fault(code, message, path, hint, at_key=at_key), severity="warning")

    def fault_inside(self, code: str, message: str, path: Path, line: int, column: int) -> Fault:
        """Make a fault at a line and column (from 1) of the text at ``path``, or where that begins if it is folded."""
        start = self.places[self.nearest(path)][1]
        return self.source.fault(code, message, start + self._distance(path, start, line, column))

    def _distance(self, path: Path, start: int, line: int, column: int) -> int:
        """Return how many characters of the source lie between the start of a text and a place in it."""
        value = self.at(path)
        lines = value.split("\n") if isinstance(value, str) else []
        if not 0 < line <= len(lines):
            return 0
        written = self.source.text[start:]
        if written.startswith("|"):
            source_lines = written.split("\n")
            first = next((n for n, text in enumerate(lines) if text.strip()), 0)
            indent = source_lines[first + 1].find(lines[first]) if len(source_lines) > first + 1 else -1
            return sum(len(text) + 1 for text in source_lines[:line]) + indent + column - 1 if indent >= 0 else 0
        quoted = written[:1] in ("'", '"')
        before = sum(len(text) + 1 for text in lines[: line - 1])
        return quoted + before + column - 1 if written.startswith(value, quoted) else 0


class _Refused(Exception):
    """The file is beyond a bound or broken; reading it ends here. Carries the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def read_documents(source: Source) -> tuple[tuple[Document, ...], tuple[Fault, ...]]:
    """Read every document of a manifest. Faults are positioned; after a fatal one no document is returned."""
    try:
        _check_events(source)
        builder = _Builder(source)
        documents = tuple(builder.document(node) for node in yaml.compose_all(source.text, Loader=_CoreLoader))
    except _Refused as refused:
        return (), (refused.fault,)
    except yaml.YAMLError as error:
        return (), (_syntax_fault(source, error),)
    return documents, tuple(builder.faults)


def _syntax_fault(source: Source, error: yaml.YAMLError) -> Fault:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        text = " ".join(part for part in (error.context, error.problem) if part)
        offset = 0 if mark is None else mark.index
        return source.fault("yaml.syntax", f"this is not YAML: {text}", offset)
    position = getattr(error, "position", 0)
    return source.fault("yaml.syntax", "this is not YAML", position if isinstance(position, int) else 0)


def _check_events(source: Source) -> None:
    """Bound depth, nodes and aliases before anything recurses."""
    depth = nodes = aliases = 0
    for event in yaml.parse(source.text, Loader=_CoreLoader):
        offset = 0 if event.start_mark is None else event.start_mark.index
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > YAML_DEPTH_MAX:
                raise _Refused(source.fault("yaml.depth", f"nested deeper than {YAML_DEPTH_MAX} levels", offset))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if aliases > YAML_ALIASES_MAX:
                raise _Refused(source.fault("yaml.aliases", f"more than {YAML_ALIASES_MAX} aliases in a file", offset))
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if nodes > YAML_NODES_MAX:
                raise _Refused(_too_many_nodes(source, offset))


def _too_many_nodes(source: Source, offset: int) -> Fault:
    message = f"more than {YAML_NODES_MAX} nodes in a file, counting each use of an alias"
    return source.fault("yaml.nodes", message, offset, "split it into several files under resources/")


@dataclass
class _Builder:
    """Builds the values of one file; its budget of nodes spans all documents of it."""

    source: Source
    faults: list[Fault] = field(default_factory=list)
    nodes: int = 0
    holes: set[Path] = field(default_factory=set)

    def document(self, root: yaml.Node) -> Document:
        places: dict[Path, tuple[int, int]] = {(): (root.start_mark.index, root.start_mark.index)}
        self.holes.clear()
        value = self._value(root, (), places, frozenset())
        return Document(self.source, value, places, holes=frozenset(self.holes))

    def _value(
        self, node: yaml.Node, path: Path, places: dict[Path, tuple[int, int]], open_nodes: frozenset[int]
    ) -> object:
        offset: int = node.start_mark.index
        self.nodes += 1
        if self.nodes > YAML_NODES_MAX:
            raise _Refused(_too_many_nodes(self.source, offset))
        if id(node) in open_nodes:
            raise _Refused(self.source.fault("yaml.alias-cycle", "an alias inside the very node it stands for", offset))
        if len(path) > YAML_DEPTH_MAX:
            raise _Refused(self.source.fault("yaml.depth", f"nested deeper than {YAML_DEPTH_MAX} levels", offset))
        inside = open_nodes | {id(node)}
        if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
            entries: dict[str, object] = {}
            for key, key_offset, child in self._entries(node):
                places[(*path, key)] = (key_offset, child.start_mark.index)
                entries[key] = self._value(child, (*path, key), places, inside)
            return entries
        if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
            items: list[object] = []
            for index, child in enumerate(node.value):
                places[(*path, index)] = (child.start_mark.index, child.start_mark.index)
                items.append(self._value(child, (*path, index), places, inside))
            return items
        before, scalar = len(self.faults), None
        if isinstance(node, yaml.ScalarNode):
            scalar = self._scalar(node)
        else:
            self._add("yaml.tag", f"the tag {excerpt(node.tag)} is not known here", offset)
        if len(self.faults) > before:
            self.holes.add(path)
        return scalar

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[str, int, yaml.Node]]:
        """Yield key, its offset and the value node; a key is always the text that was written."""
        seen: set[str] = set()
        for key_node, child in node.value:
            offset: int = key_node.start_mark.index
            self.nodes += 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._add("yaml.key", "a key must be plain text", offset)
                continue
            key = self._text(key_node.value, offset)
            if key in seen:
                self._add("yaml.duplicate-key", f"the key {excerpt(key)} is given twice", offset, "keep one of them")
                continue
            seen.add(key)
            yield key, offset, child

    def _scalar(self, node: yaml.ScalarNode) -> object:
        offset: int = node.start_mark.index
        kind, text = node.tag.removeprefix(_CORE), self._text(node.value, offset)
        if kind == "str":
            return text
        if kind == "null" and text in ("", "~", "null", "Null", "NULL"):
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float") and len(text) > _NUMBER_CHARS_MAX:
            self._add("yaml.number", f"a number of more than {_NUMBER_CHARS_MAX} characters", offset, "quote it")
            return None
        if kind == "int" and _INT.fullmatch(text):
            return int(text[2:], 8 if text[1] == "o" else 16) if text[:2] in ("0o", "0x") else int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        self._add("yaml.tag", f"{excerpt(text)} cannot be read as {excerpt(node.tag)}", offset)
        return None

    def _text(self, text: str, offset: int) -> str:
        if "\x00" in text:
            self._add("yaml.nul", "a NUL character cannot be stored or passed to a command", offset)
        return text

    def _add(self, code: str, message: str, offset: int, hint: str = "") -> None:
        self.faults.append(self.source.fault(code, message, offset, hint))
