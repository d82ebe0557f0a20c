"""What the shell itself must know of a session's log: where its workspace is, its project, whether it has failed.

Pure. A life of the session folds every event into it, on restore and on commit, beside the cell. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from setpoint.contracts.event import Event, NewEvent

_REACHED: Final = {
    "workspace.materialized",
    "run.adopted",
    "evaluation.step_finished",
    "evaluation.completed",
    "sync.step_finished",
}
"""What can only have come from the session's sandbox host: an owner reached it."""
_CHANGES: Final = {"sync.started", "tool.started"}
_ENDS: Final = {
    "sync.succeeded",
    "sync.failed",
    "sync.cancelled",
    "sync.skipped",
    "sync.outcome_unknown",
    "tool.finished",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A session's workspace: on which sandbox host, under which ledger, the how-manieth."""

    host: str
    ledger_id: str
    workspace_no: int


class Unfoldable(Exception):
    """An event is not what its type says: nobody can know what it meant."""


class _Noted(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The facts as a snapshot keeps them; not the place, which the head row has."""

    generation: int = 0
    files: str = ""
    failed: str | None = None
    last_at: int = 0
    changing: tuple[str, ...] = ()
    owner: str = ""
    tried: tuple[str, ...] = ()


class SessionFacts:
    """The facts as of the last event noted."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.generation = 0
        self.files = ""
        self.failed: str | None = None
        self.last_at = 0
        self._changing: set[str] = set()
        self._owner = ""
        self.tried: frozenset[str] = frozenset()
        """The cell hosts that gave the session away because they could not reach its sandbox host, since one did."""

    def note(self, event: Event | NewEvent, at: int) -> None:
        """Fold one event, committed at ``at`` (microseconds since the epoch). Raises Unfoldable: nothing was learnt."""
        self.last_at = max(self.last_at, at)
        try:
            self._fold(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise Unfoldable(f"{event.type}: {type(error).__name__}: {error}") from error

    def _fold(self, event: Event | NewEvent) -> None:
        data, run = event.data, event.execution_id
        if event.type in _REACHED:
            self.tried = frozenset()
        if event.type == "workspace.materialized":
            self.place = Place(data["sandbox_host"], data["ledger_id"], data["workspace_no"])
        elif event.type == "resources.applied":
            self.generation, self.files = data["generation"], data["files"]
        elif event.type == "lease.acquired":
            self._owner = str(data.get("host", ""))
        elif event.type == "lease.released" and data.get("mode") == "move":
            self.tried |= {self._owner}
        elif event.type == "session.failed":
            self.failed = str(data.get("reason", "it failed"))
        elif event.type == "session.recovered":
            self.failed = None
        elif event.type in _CHANGES and run is not None:
            self._changing.add(run)
        elif event.type in _ENDS and run is not None:
            self._changing.discard(run)

    def dump(self) -> bytes:
        """Return the facts for a snapshot."""
        changing, tried = tuple(sorted(self._changing)), tuple(sorted(self.tried))
        noted = _Noted(self.generation, self.files, self.failed, self.last_at, changing, self._owner, tried)
        return msgspec.msgpack.encode(noted)

    def load(self, content: bytes) -> bool:
        """Begin with the facts of a snapshot; False, and with none, when these are not what ``dump`` wrote."""
        try:
            self._begin(msgspec.msgpack.decode(content, type=_Noted))
        except msgspec.MsgspecError:
            self.clear()
            return False
        return True

    def clear(self) -> None:
        """Forget all but the place."""
        self._begin(_Noted())

    def _begin(self, noted: _Noted) -> None:
        self.generation, self.files, self.failed = noted.generation, noted.files, noted.failed
        self.last_at, self._changing = noted.last_at, set(noted.changing)
        self._owner, self.tried = noted.owner, frozenset(noted.tried)

    @property
    def is_changing(self) -> bool:
        """Tell whether a sync or a tool is open in the log."""
        return bool(self._changing)

    def changes_things(self, run_id: str) -> bool:
        """Tell whether a run is a sync or a tool: one whose loss must be waited out, unlike an evaluation's."""
        return run_id in self._changing
