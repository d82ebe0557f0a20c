"""An asset that an Origin makes and a person writes about, too: the two made one. Called by origin.py.

The Origin's values stand and the person adds: pairs before or after the Origin's, upstreams, labels, and every field
that the Origin leaves open. What a person writes in vain, because the Origin has said it otherwise, is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.spec import AssetFile, AssetSpec, AutoSync
from setpoint.contracts.resource.tree import Document, Path

_ORIGIN: Final = -1


@dataclass(frozen=True)
class Merged(Document):
    """The document of an asset of two: faults of the Origin's parts stand at the Origin, all others at the overlay.

    ``rows`` has for each list of the spec where each of its items comes from: an index of the overlay's, or -1.
    """

    overlay: Document
    made: Document
    rows: dict[str, tuple[int, ...]]

    def is_whole(self, path: Path) -> bool:
        """Tell whether whoever wrote that part of the asset has no hole there; for what two wrote, neither of them."""
        row = self.rows.get(str(path[1])) if len(path) > 2 else None
        if row is None or not isinstance(path[2], int):
            return super().is_whole(path) and self.overlay.is_whole(path) and self.made.is_whole(path)
        if row[path[2]] == _ORIGIN:
            return self.made.is_whole(path)
        return self.overlay.is_whole((*path[:2], row[path[2]], *path[3:]))

    def fault(self, code: str, message: str, path: Path, hint: str = "", *, at_key: bool = False) -> Fault:
        """Make a fault where that part of the asset was written."""
        row = self.rows.get(str(path[1])) if len(path) > 2 else None
        if row is not None and isinstance(path[2], int):
            if row[path[2]] == _ORIGIN:
                return self.made.fault(code, message, path, hint)
            path = (*path[:2], row[path[2]], *path[3:])
        elif len(path) > 1 and self.overlay.nearest(path[:2]) != path[:2]:
            return self.made.fault(code, message, path, hint)
        return self.overlay.fault(code, message, path, hint, at_key=at_key)


def merge(made: tuple[Document, AssetFile], overlay: tuple[Document, AssetFile]) -> tuple[Merged, AssetFile]:
    """Make one asset of the Origin's and a person's; ``in_vain`` says what of the person's is not in it."""
    (made_document, theirs), (document, ours) = made, overlay
    drift = ours.spec.on_drift
    before = [index for index, pair in enumerate(drift) if pair.merge_position == "beforeOrigin"]
    after = [index for index, pair in enumerate(drift) if pair.merge_position == "afterOrigin"]
    more = [index for index, name in enumerate(ours.spec.upstreams) if name not in theirs.spec.upstreams]
    rows = {
        "onDrift": (*before, *(_ORIGIN for _ in theirs.spec.on_drift), *after),
        "upstreams": (*(_ORIGIN for _ in theirs.spec.upstreams), *more),
    }
    lists = {
        "on_drift": (*(drift[i] for i in before), *theirs.spec.on_drift, *(drift[i] for i in after)),
        "upstreams": (*theirs.spec.upstreams, *(ours.spec.upstreams[i] for i in more)),
    }
    spec = ours.spec.model_copy(update=_kept(theirs.spec, ours.spec) | lists)
    labels = {**ours.metadata.labels, **theirs.metadata.labels}
    metadata = ours.metadata.model_copy(update={"labels": labels})
    joined = Merged(document.source, document.value, document.places, document, made_document, rows)
    return joined, ours.model_copy(update={"metadata": metadata, "spec": spec})


def in_vain(made: AssetFile, overlay: tuple[Document, AssetFile]) -> Iterator[Fault]:
    """Yield a warning for everything in an overlay that the Origin says otherwise."""
    document, ours = overlay
    wanted = {
        "connection": (ours.spec.connection, made.spec.connection),
        "modelName": (ours.spec.model_name, made.spec.model_name),
        "autoSync": (_on_drift(ours.spec), _on_drift(made.spec) if "auto_sync" in made.spec.model_fields_set else None),
    }
    for field, (written, stands) in wanted.items():
        known = ("spec", field) in document.places and document.is_whole(("spec", field))
        if known and stands not in (None, written):
            said = str(stands).lower() if isinstance(stands, bool) else excerpt(stands)
            yield _warning(document, f"the Origin makes this asset with {field} {said}", ("spec", field))
    for label, value in ours.metadata.labels.items():
        if made.metadata.labels.get(label, value) != value:
            message = f"the Origin gives this asset the label {excerpt(label)} with another value"
            yield _warning(document, message, ("metadata", "labels", label))


def _kept(theirs: AssetSpec, ours: AssetSpec) -> dict[str, object]:
    """Return the fields of the Origin's; its ``autoSync`` says nothing of ``onChange``, which stays the overlay's."""
    kept: dict[str, object] = {"connection": theirs.connection, "model_name": theirs.model_name}
    if "auto_sync" not in theirs.model_fields_set:
        return kept
    if isinstance(ours.auto_sync, AutoSync):
        return kept | {"auto_sync": ours.auto_sync.model_copy(update={"on_drift": _on_drift(theirs)})}
    return kept | {"auto_sync": theirs.auto_sync}


def _on_drift(spec: AssetSpec) -> bool:
    return spec.auto_sync.on_drift if isinstance(spec.auto_sync, AutoSync) else spec.auto_sync


def _warning(document: Document, message: str, path: Path) -> Fault:
    hint = "the Origin's value stands; take this one out"
    return replace(document.fault("origin-value", message, path, hint, at_key=True), severity="warning")
