"""The resources of a project by kind and name. Called by compile and resolve.

A resource whose shape is wrong is still registered under its name, so that one mistake in it is reported once and not
again by everything that refers to it; so is one whose kind is misspelt, which could be of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.outside import ConnectionFile, IdentityFile, OriginFile
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import AssetFile, ConditionsFile, SyncFile
from setpoint.contracts.resource.tree import Document, Path

AnyFile = AssetFile | ConditionsFile | SyncFile | ConnectionFile | IdentityFile | OriginFile
"""A document of any kind, its shape checked."""

KINDS: Final = frozenset({"Asset", "Conditions", "Sync", "Connection", "Identity", "Origin"})

F = TypeVar("F", AssetFile, ConditionsFile, SyncFile, ConnectionFile, IdentityFile, OriginFile)


@dataclass(frozen=True)
class Located:
    """A resource and where it was written. ``value`` None: its shape is wrong, which has been reported.

    One that was made and not written (by an Origin) has the document that it was made from.
    """

    document: Document
    value: AnyFile | None

    @property
    def kind(self) -> str:
        """Return the kind of it, which may be nothing when its shape is wrong."""
        return self._written("kind") if self.value is None else self.value.kind

    @property
    def name(self) -> str:
        """Return its name, which may be nothing when its shape is wrong."""
        return self._written("metadata", "name") if self.value is None else self.value.metadata.name

    def _written(self, *keys: str) -> str:
        value: object = self.document.value
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""


_HINTS_MAX = 40
"""Looking for the nearest of 10,000 names costs milliseconds: only so many references get a hint."""


@dataclass
class Registry:
    """Resources by kind and name. ``complete`` False: a file could not be read, so a missing name proves nothing."""

    complete: bool
    faults: list[Fault] = field(default_factory=list)
    _hints_left: int = _HINTS_MAX
    _by_kind: dict[str, dict[str, Located]] = field(default_factory=dict)
    _of_no_kind: set[str] = field(default_factory=set)

    def register(self, resources: Iterable[Located]) -> None:
        """Take in resources; the second of a kind and name is a fault."""
        for located in resources:
            if located.kind not in KINDS:
                self._of_no_kind.add(located.name)
                continue
            known = self._by_kind.setdefault(located.kind, {})
            first = known.setdefault(located.name, located)
            if first is not located and located.name:
                line = first.document.fault("", "", ("metadata", "name")).line
                message = f"there is another {excerpt(located.kind)[1:-1]} named {excerpt(located.name)}"
                hint = f"the first is at {first.document.source.file}:{line}"
                self.faults.append(located.document.fault("duplicate-name", message, ("metadata", "name"), hint))

    def names(self, kind: str) -> frozenset[str]:
        """Return the names of this kind, those of broken resources included."""
        return frozenset(self._by_kind.get(kind, ()))

    def each(self, kind: str, shape: type[F]) -> Iterator[tuple[Document, F]]:
        """Yield the sound resources of a kind by name."""
        for _, located in sorted(self._by_kind.get(kind, {}).items()):
            if isinstance(located.value, shape):
                yield located.document, located.value

    def document(self, kind: str, name: str) -> Document:
        """Return the document of a resource that was found. Raises KeyError when there is none."""
        return self._by_kind[kind][name].document

    def find(self, kind: str, name: str, document: Document, path: Path, shape: type[F]) -> F | None:
        """Return the resource that ``path`` of ``document`` refers to; None and a fault when there is none."""
        located = self._by_kind.get(kind, {}).get(name)
        if located is None and self.complete and name not in self._of_no_kind:
            hint = self._hint(kind, name)
            self.faults.append(document.fault("unknown-reference", f"there is no {kind} {excerpt(name)}", path, hint))
        return located.value if located is not None and isinstance(located.value, shape) else None

    def _hint(self, kind: str, name: str) -> str:
        known = self._by_kind.get(kind, {})
        if not known:
            return f"no {kind} is defined"
        self._hints_left -= 1
        return nearest_hint(name, known) if self._hints_left >= 0 else ""
