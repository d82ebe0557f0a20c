"""What is known and not carried out: one table each for what refuses a project and for what is only pointed at.

A key of a table is where in a document something may stand: the kind of the document (``settings`` for
``setpoint.yaml``), then keys, ``*`` for any index.
Whoever builds one of these takes its row out, and the shape checked so far begins to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.tree import Document, Path

_STATE = "Setpoint keeps its state in its own database"

NOT_YET: Final[Mapping[str, str]] = {
    "settings.notify": "notify",
    "settings.export": "export",
}
"""What a project is refused for: it would be missed."""

WITHOUT_MEANING: Final[Mapping[str, str]] = {
    "Asset.spec.onDrift.*.mergePosition": "mergePosition places a pair among those of an Origin",
    "settings.backend": _STATE,
    "settings.stateDir": _STATE,
    "settings.nagiDir": _STATE,
    "settings.terminationGracePeriodSeconds": "a run outlives the process that started it, and goes on",
    "settings.maxControllers": "a session has one controller, whatever its graph looks like",
}
"""What was needed elsewhere and has nothing to do here, so that a project that has it compiles all the same."""


def unsupported_faults(document: Document, kind: str) -> Iterator[Fault]:
    """Yield a fault for everything in a document of this kind that the first table names, at its key."""
    for path, what in _named(document, kind, NOT_YET):
        verb = "are" if what.startswith("resources") else "is"
        yield document.fault("not-supported", f"{what} {verb} not supported yet", path or ("kind",), at_key=True)


def ignored_warnings(document: Document, kind: str) -> Iterator[Fault]:
    """Yield a warning for everything in a document of this kind that the second table names, at its key."""
    for path, why in _named(document, kind, WITHOUT_MEANING):
        yield document.warning("ignored", f"{path[-1]} is ignored: {why}", path, at_key=True)


def _named(document: Document, kind: str, table: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield the places of a document that the table names, and what it says of them."""
    if kind in table:
        yield (), table[kind]
    last_parts = {row.rpartition(".")[2] for row in table if row.startswith(f"{kind}.")}
    for path in document.places if last_parts else ():
        if path and path[-1] in last_parts:
            row = ".".join((kind, *("*" if isinstance(part, int) else part for part in path)))
            if row in table:
                yield path, table[row]
