"""A document with faults of shape made one that can be looked at further. Called by check.

What is wrong is taken out, and where something has to be there a stand-in takes its place, so that the rest of the
document is judged in the same run. Such places are *holes*: whoever would report what is missing or unknown asks
``Document.is_whole`` first, so that nobody is told of a stand-in. A mended document is never compiled into anything.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from setpoint.contracts.resource.tree import Document, Path

T = TypeVar("T")

_STEP: Final[Mapping[str, object]] = {"type": "Command", "args": ["?"]}
_CONDITION: Final[Mapping[str, object]] = {"type": "Command", "name": "?", "run": ["?"]}
_STAND_INS: Final[Sequence[object]] = (
    "?",
    "x",
    60,
    "Command",
    "env",
    "DBT",
    "setpoint.dev/v1alpha1",
    ["?"],
    [_CONDITION],
    _CONDITION,
    {"conditions": "?"},
    {},
    _STEP,
    {"run": _STEP},
    {"name": "x"},
    {"X": "?"},
    {"type": "env", "env": {"X": "?"}},
    {"type": "duckdb", "path": "x"},
    {"type": "DBT", "connection": "?", "projectDir": "x"},
)
"""What can stand at any place of any shape; the first that its shape takes is put there. ``?`` no name can be."""

_WANTED: Final[Mapping[str, type]] = {
    "string_type": str,
    "literal_error": str,
    "tuple_type": list,
    "dict_type": dict,
    "model_type": dict,
    "model_attributes_type": dict,
    "union_tag_not_found": dict,
    "union_tag_invalid": dict,
}
"""Of what type a value has to be where there is such an error; so most are mended in two or three rounds."""

_WORK_MAX: Final = 60_000
"""Rounds times places of a document: only one of thousands of values may be left, and not looked at further."""


class Mended(NamedTuple):
    """A document's value without what is wrong in it, of the right shape, and where it was wrong."""

    value: Any
    holes: frozenset[Path]


def mend(adapter: TypeAdapter[T], document: Document, errors: Sequence[ErrorDetails]) -> Mended | None:
    """Take out what these errors are about; None when that leaves nothing that could be looked at.

    All holes are mended at once and the whole is validated again, so the work does not grow with their number.
    """
    value = copy.deepcopy(document.value)
    tried: dict[Path, int] = {}
    for _ in range(min(2 * len(_STAND_INS), _WORK_MAX // len(document.places))):
        for path, wanted in dict(_hole(document, error, tried) for error in errors).items():
            tried[path] = _next(tried.get(path), path, wanted)
            if not path or not _put(value, path, tried[path]):
                return None
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
        else:
            return Mended(value, frozenset(tried))
    return None


def _hole(document: Document, error: ErrorDetails, known: Mapping[Path, int]) -> tuple[Path, type | None]:
    """Return the place that an error is about, a hole that is known or one more, and the type that is wanted there.

    An error inside a stand-in is about the place where that stands, and says nothing of what is wanted there.
    """
    missing = error["type"] == "missing"
    loc: Path = tuple(error["loc"])
    path: Path = ()
    for part in loc[:-1] if missing else loc:
        if (*path, part) in document.places or (*path, part) in known:
            path = (*path, part)
    there = not missing and path[-1:] == loc[-1:]
    path = (*path, loc[-1]) if missing else path
    around = next((path[:length] for length in range(1, len(path)) if path[:length] in known), None)
    if around is not None:
        return around, None
    return path, _WANTED.get(error["type"]) if there else None


def _next(before: int | None, path: Path, wanted: type | None) -> int:
    """Return which stand-in is tried next at a place, -1 for none: but an item of a list has to stay in its place."""
    if before is None and not any(isinstance(part, int) for part in path[-1:]):
        return -1
    start = 0 if before is None else before + 1
    fitting = (i for i in range(start, len(_STAND_INS)) if wanted is None or isinstance(_STAND_INS[i], wanted))
    return next(fitting, len(_STAND_INS))


def _put(value: Any, path: Path, which: int) -> bool:
    """Take out the value at a path, or put a stand-in there; False when there is none, or no such place any more."""
    for part in path[:-1]:
        try:
            value = value[part]
        except (LookupError, TypeError):  # what was there went with a hole around it
            return False
    key = path[-1]
    if which >= len(_STAND_INS) or not isinstance(value, list if isinstance(key, int) else dict):
        return False
    around: Any = value
    if which < 0:
        around.pop(key, None)
    else:
        around[key] = copy.deepcopy(_STAND_INS[which])
    return True
