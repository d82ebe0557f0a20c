"""``setpoint apply --dry-run``: what an apply would change, beside the generation that a session has now.

Called by project.py with a project that compiles here. It only reads from the gateway: no blob is stored, no session
made, no command queued. What it says is of this moment; an apply that is still in the inbox is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from setpoint.cli import context
from setpoint.client.api import Client
from setpoint.contracts.codec import sha256_hex
from setpoint.contracts.problem import Problem
from setpoint.contracts.resource.delta import Delta, diff
from setpoint.contracts.resource.model import CompiledSet, decode

_COLUMNS: Final = (("CHANGE", "change"), ("WHAT", "what"), ("NAME", "name"))


class _File(msgspec.Struct, frozen=True):
    path: str
    mode: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    files: tuple[_File, ...]


class Present(msgspec.Struct, frozen=True):
    """What a session has now: its newest generation, the assets and settings of that, and its files by path.

    A file is its mode and the sha256 of its content. ``generation`` None: there is none yet.
    """

    generation: int | None = None
    compiled: CompiledSet | None = None
    files: Mapping[str, tuple[int, str]] = {}


class Preview(msgspec.Struct, frozen=True):
    """What would be new, changed and gone. ``settings``: those of the project would change."""

    assets: Delta
    files: Delta
    settings: bool

    def rows(self) -> list[dict[str, str]]:
        """Return a row for each thing that would change: assets, then the settings, then files."""
        settings = [{"change": "changed", "what": "settings", "name": ""}] if self.settings else []
        return [*_rows("asset", self.assets), *settings, *_rows("file", self.files)]

    def as_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        return {"assets": _named(self.assets), "files": _named(self.files), "settings_changed": self.settings}


def present(api: Client, name: str) -> Present:
    """Read what a session has now; a session that does not exist yet has nothing.

    Raises Problem invalid-transition when the session is closed, so that an apply would be refused.
    """
    try:
        session = api.session(name)
    except Problem as problem:
        if problem.code != "not-found":
            raise
        return Present()
    if session["state"] == "closed":
        raise Problem("invalid-transition", f"the session {name} is closed and takes no apply; name another")
    newest = api.call("GET", f"/v1/sessions/{session['id']}/generations", limit=1)["items"]
    if not newest:
        return Present()
    try:
        compiled = decode(api.blob(newest[0]["resources"]))
        files = msgspec.json.decode(api.blob(newest[0]["files"]), type=_Manifest).files
    except ValueError as error:
        number = newest[0]["generation"]
        message = f"generation {number} of {name} cannot be read by this version of setpoint: {error}"
        raise Problem("conflict", message) from error
    return Present(newest[0]["generation"], compiled, {file.path: (file.mode, file.sha256) for file in files})


def preview(now: Present, compiled: CompiledSet, files: Mapping[str, tuple[bytes, int]]) -> Preview:
    """Compare what there is with a compiled project and its files by path (content and mode)."""
    after = {path: (mode, sha256_hex(content)) for path, (content, mode) in files.items()}
    before = now.files
    changed = Delta(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )
    settings = now.compiled is not None and now.compiled.settings != compiled.settings
    return Preview(diff(now.compiled, compiled), changed, settings)


def show(name: str, now: Present, found: Preview) -> None:
    """Print a preview: a row for each change on stdout, or one JSON document."""
    if context.as_json():
        context.emit({"session": name, "generation": now.generation, **found.as_json()})
        return
    beside = f"generation {now.generation}" if now.generation else "nothing: no project was applied yet"
    context.note(f"beside {beside} of session {name}; nothing is applied")
    context.emit(found.rows(), _COLUMNS, empty="nothing would change")


def _rows(what: str, delta: Delta) -> list[dict[str, str]]:
    return [{"change": change, "what": what, "name": name} for change, names in _named(delta).items() for name in names]


def _named(delta: Delta) -> dict[str, list[str]]:
    return {"new": list(delta.added), "changed": list(delta.changed), "gone": list(delta.removed)}
