"""The resources of a project by kind and name. Called by compile and resolve.

A resource whose shape is wrong is still registered under its name, so that one mistake in it is reported once and not
again by everything that refers to it; so is one whose kind is misspelt, which could be of any. One whose name cannot be
read could be any of its kind: nothing of that kind is reported as unknown then.
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
from setpoint.contracts.resource.unread import Unread

AnyFile = AssetFile | ConditionsFile | SyncFile | ConnectionFile | IdentityFile | OriginFile
"""A document of any kind, its shape checked."""

KINDS: Final = frozenset({"Asset", "Conditions", "Sync", "Connection", "Identity", "Origin"})

F = TypeVar("F", AssetFile, ConditionsFile, SyncFile, ConnectionFile, IdentityFile, OriginFile)


@dataclass(frozen=True)
class Located:
    """A resource and where it was written. ``value`` None: nothing is known of it but what is wrong.

    One whose shape is wrong has holes in its document, and a value that is there to be looked at. One that was made
    and not written (by an Origin) has the document that it was made from.
    """

    document: Document
    value: AnyFile | None

    @property
    def kind(self) -> str:
        """Return the kind of it, which may be nothing when that cannot be read."""
        return _written(self.document, "kind") if self.value is None else self.value.kind

    @property
    def name(self) -> str:
        """Return its name as it is written, however wrong; nothing when that cannot be read."""
        return _written(self.document, "metadata", "name") if self.value is None else self.value.metadata.name


def as_named(document: Document, value: AnyFile | None) -> AnyFile | None:
    """Return a mended resource with its own name instead of a stand-in, so that it is known by what is written."""
    if value is None:
        return None
    name = _written(document, "metadata", "name")
    if value.metadata.name == name:
        return value
    return value.model_copy(update={"metadata": value.metadata.model_copy(update={"name": name})})


def _written(document: Document, *keys: str) -> str:
    value: object = document.value
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


_HINTS_MAX = 40
"""Looking for the nearest of 10,000 names costs milliseconds: only so many unknown names get a hint."""


@dataclass
class Registry:
    """Resources by kind and name; what is in none of them and may be ``unread`` is not reported as unknown."""

    unread: Unread
    faults: list[Fault] = field(default_factory=list)
    _hints: dict[tuple[str, str], str] = field(default_factory=dict)
    _by_kind: dict[str, dict[str, Located]] = field(default_factory=dict)
    _all: list[Located] = field(default_factory=list)
    _of_no_kind: set[str] = field(default_factory=set)
    _with_nameless: set[str] = field(default_factory=set)

    def register(self, resources: Iterable[Located]) -> None:
        """Take in resources; the second of a kind and name is a fault."""
        for located in resources:
            if not located.name:
                self._with_nameless |= {located.kind} if located.kind in KINDS else KINDS
            if located.kind not in KINDS:
                self._of_no_kind.add(located.name)
                continue
            self._all.append(located)
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
        """Yield the resources of a kind by name, mended ones and every one of a name included, the first first."""
        for located in sorted((one for one in self._all if one.kind == kind), key=lambda one: one.name):
            if isinstance(located.value, shape):
                yield located.document, located.value

    def is_first(self, kind: str, name: str, document: Document) -> bool:
        """Tell whether it is this document that others mean by the name."""
        return self._by_kind[kind][name].document is document

    def document(self, kind: str, name: str) -> Document:
        """Return the document of a resource that was found. Raises KeyError when there is none."""
        return self._by_kind[kind][name].document

    def find(self, kind: str, name: str, document: Document, path: Path, shape: type[F]) -> F | None:
        """Return the resource that ``path`` of ``document`` refers to; None and a fault when there is none.

        No fault where the reference is a stand-in, or where what could not be read may be what is meant.
        """
        if not document.is_whole(path):
            return None
        located = self._by_kind.get(kind, {}).get(name)
        sought = kind not in self._with_nameless and name not in self._of_no_kind
        if located is None and sought and not self.unread.may_define(kind, name):
            hint = self._hint(kind, name)
            self.faults.append(document.fault("unknown-reference", f"there is no {kind} {excerpt(name)}", path, hint))
        return located.value if located is not None and isinstance(located.value, shape) else None

    def _hint(self, kind: str, name: str) -> str:
        known = self._by_kind.get(kind, {})
        if not known:
            return f"no {kind} is defined"
        if (kind, name) not in self._hints:
            self._hints[kind, name] = nearest_hint(name, known) if len(self._hints) < _HINTS_MAX else ""
        return self._hints[kind, name]
