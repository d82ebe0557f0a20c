"""What is known and not carried out yet: one table, so that nothing is silently ignored. Called by compile.

A key of the table is where in a document something may stand: the kind of the document (``settings`` for
``setpoint.yaml``), then keys, ``*`` for any index or key; ``=value`` narrows it to a scalar.
Whoever builds one of these takes its row out, and the shape checked so far begins to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.tree import Document, Path

_STATE = "Setpoint keeps its state in its own database"

NOT_YET: Final[Mapping[str, str]] = {
    "Connection": "resources of kind Connection",
    "Identity": "resources of kind Identity",
    "Origin": "resources of kind Origin",
    "Asset.spec.connection": "the connection of an asset",
    "Asset.spec.onDrift.*.mergePosition": "mergePosition, which only means something beside an Origin,",
    "Conditions.spec.*.type=SQL": "conditions of type SQL",
    "Conditions.spec.*.type=Freshness": "conditions of type Freshness",
    "Conditions.spec.*.identity": "the identity of a condition",
    "Sync.spec.identity": "the identity of a sync",
    "Sync.spec.orphanTimeout": "orphanTimeout of a single sync",
    "Sync.spec.*.identity": "the identity of a step",
    "settings.backend": f"backend ({_STATE})",
    "settings.stateDir": f"stateDir ({_STATE})",
    "settings.nagiDir": f"nagiDir ({_STATE})",
    "settings.notify": "notify",
    "settings.export": "export",
    "settings.terminationGracePeriodSeconds": "terminationGracePeriodSeconds",
    "settings.maxControllers": "maxControllers",
    "settings.lockTtlSeconds": "lockTtlSeconds",
}

VARIABLES_NOT_YET: Final = "${VAR} in the value of an environment variable"
"""The one thing that is not a place but a notation; looked for while environments are compiled."""


_LAST_PARTS: Final = frozenset(pattern.partition("=")[0].rpartition(".")[2] for pattern in NOT_YET)


def unsupported_faults(document: Document, kind: str) -> Iterator[Fault]:
    """Yield a fault for everything in a document of this kind that the table names, at its key."""
    for path, value in _walk(document.value):
        if path and path[-1] not in _LAST_PARTS:
            continue
        wanted = _patterns(kind, path, value)
        found = next((NOT_YET[pattern] for pattern in wanted if pattern in NOT_YET), None)
        if found is not None:
            anchor: Path = path or ("kind",)
            yield unsupported(document, anchor, found)


def unsupported(document: Document, path: Path, what: str) -> Fault:
    """Make the fault that says that ``what``, standing at ``path``, is not supported yet."""
    verb = "are" if what.startswith(("resources", "conditions")) else "is"
    return document.fault("not-supported", f"{what} {verb} not supported yet", path, at_key=True)


def _patterns(kind: str, path: Path, value: object) -> tuple[str, ...]:
    """Return the keys of the table that this place could have: exact, and with its container's key as ``*``."""
    steps = [kind, *("*" if isinstance(part, int) else part for part in path)]
    names = [".".join(steps)]
    if len(steps) > 2:
        names.append(".".join([*steps[:-2], "*", steps[-1]]))
    return (*names, *(f"{name}={value}" for name in names if isinstance(value, str)))


def _walk(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    yield path, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _walk(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _walk(child, (*path, index))
