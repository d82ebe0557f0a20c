"""A document against its shape: a typed value, or every fault of it with its place. Called by compile.

pydantic says what is wrong and where in the value; this module turns that into our codes, words and positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from setpoint.contracts.limits import FAULTS_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.mend import mend
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.tree import Document, Path

T = TypeVar("T")

_OWN_CODES: Final = frozenset({"bad-duration", "bad-name", "bad-cron", "bad-path", "wrong-value"})

_TYPE_WORDS: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}

_RULE_WORDS: Final = {
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


@dataclass(frozen=True)
class Checked(Generic[T]):
    """What came of a document: the typed value (None: nothing can be said of it) and everything wrong with its shape.

    With faults the value is mended and only there to be looked at; the holes of ``document`` say where.
    """

    value: T | None
    document: Document
    faults: tuple[Fault, ...] = ()


class Checker(Generic[T]):
    """Validates documents of one shape. Build it once: that is the costly part.

    ``common`` has the shapes of what is known even of a value whose kind or type is not: by the first part of the way
    to it, which is nothing for the document itself.
    """

    def __init__(self, shape: Any, common: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(shape)
        self._schema = self._adapter.json_schema(mode="validation")
        self._common = {where: TypeAdapter[object](known) for where, known in common.items()}

    def check(self, document: Document) -> Checked[T]:
        """Return the typed value and everything that is wrong with its shape (no more than are ever shown)."""
        try:
            return Checked(self._adapter.validate_python(document.value), document)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=True)
        told = [*details, *self._errors_of_unknown_types(document, details)]
        unread = document.holes
        faults = tuple(
            self._fault(document, detail)
            for detail in told[:FAULTS_MAX]
            if not any(document.nearest(tuple(detail["loc"]))[: len(hole)] == hole for hole in unread)
        )
        mended = mend(self._adapter, document, details) if len(details) <= FAULTS_MAX else None
        if mended is None:
            return Checked(None, document, faults)
        holes = unread | mended.holes | frozenset(self._perhaps_misspelt(document, details))
        return Checked(self._adapter.validate_python(mended.value), replace(document, holes=holes), faults)

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of the shape."""
        return self._schema

    def _fault(self, document: Document, error: ErrorDetails) -> Fault:
        loc: Path = tuple(error["loc"])
        kind, context = error["type"], error.get("ctx", {})
        if kind == "extra_forbidden":
            known = self._fields_beside(loc)
            hint = nearest_hint(str(loc[-1]), known)
            return document.fault("unknown-field", f"the field {excerpt(loc[-1])} is not known", loc, hint, at_key=True)
        if kind == "missing":
            return document.fault("missing-field", f"the field {excerpt(loc[-1])} is missing", loc[:-1])
        if kind == "union_tag_not_found":
            field = str(context["discriminator"]).strip("'")
            return document.fault("missing-field", f"the field {field!r} is missing", loc)
        if kind == "union_tag_invalid":
            return _tag_fault(document, loc, context)
        return document.fault(*_words(kind, error, context), loc, at_key=loc[-1:] == ("[key]",))

    def _errors_of_unknown_types(self, document: Document, details: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
        """Yield what is wrong whatever the kind of a document, or the type of a part of it, was to be."""
        for detail in details:
            loc: Path = tuple(detail["loc"])
            known = self._common.get(str(loc[0]) if loc else "")
            if known is None or not detail["type"].startswith("union_tag"):
                continue
            try:
                known.validate_python(document.at(loc))
            except ValidationError as error:
                for more in error.errors(include_url=False, include_input=True):
                    more["loc"] = (*loc, *more["loc"])
                    yield more

    def _perhaps_misspelt(self, document: Document, details: Sequence[ErrorDetails]) -> Iterator[Path]:
        """Yield the places of the fields that an unknown one beside them may stand for."""
        for detail in details:
            if detail["type"] == "extra_forbidden":
                *way, _ = document.nearest(tuple(detail["loc"]))
                beside = document.at(tuple(way))
                yield from ((*way, name) for name in self._fields_beside(tuple(detail["loc"])) if name not in beside)

    def _fields_beside(self, loc: Path) -> frozenset[str]:
        """Return the names of the fields of the mapping that the last part of ``loc`` stands in."""
        nodes = [self._schema]
        for part in loc[:-1]:
            nodes = [found for node in nodes for found in self._step(node, part)]
        return frozenset(
            name for node in nodes for plain in self._alternatives(node) for name in plain.get("properties", ())
        )

    def _step(self, node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
        tagged = node.get("discriminator", {}).get("mapping", {})
        if part in tagged:
            yield {"$ref": tagged[part]}
            return
        for plain in self._alternatives(node):
            if isinstance(part, int):
                yield plain.get("items", {})
            elif part in plain.get("properties", {}):
                yield plain["properties"][part]
            elif part in ("short", "long"):
                yield plain

    def _alternatives(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "$ref" in node:
            yield from self._alternatives(self._schema["$defs"][node["$ref"].rpartition("/")[2]])
            return
        yield node
        for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from self._alternatives(choice)


def _tag_fault(document: Document, loc: Path, context: Mapping[str, Any]) -> Fault:
    field = str(context["discriminator"]).strip("'")
    known = [name.strip(" '") for name in str(context["expected_tags"]).split(",")]
    written = document.at((*loc, field))
    message = f"{field} cannot be {_named(written)}"
    return document.fault("wrong-value", message, (*loc, field), nearest_hint(str(written), known))


def _words(kind: str, error: ErrorDetails, context: Mapping[str, Any]) -> tuple[str, str]:
    """Return code and message of an error that is about one value."""
    written = error.get("input")
    if kind in _OWN_CODES:
        return kind, str(context["text"])
    if kind in _TYPE_WORDS:
        quote = ": put it in quotes" if kind == "string_type" and isinstance(written, bool | int | float) else ""
        return "wrong-type", f"{_named(written)} is not {_TYPE_WORDS[kind]}{quote}"
    if kind == "literal_error":
        return "wrong-value", f"{excerpt(written)} is not one of {context['expected']}"
    if kind in _RULE_WORDS:
        return "wrong-value", f"the value {_RULE_WORDS[kind].format_map(context)}"
    return "wrong-value", error["msg"]


def _named(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return excerpt(str(value).lower() if isinstance(value, bool) else value)
