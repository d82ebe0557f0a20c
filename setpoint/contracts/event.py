"""What has happened in a session: the closed list of event types and the two shapes an event has.

``NewEvent`` is what a decision proposes; ``Event`` is a row of the log. ``evolve`` in the core folds Events; the
gateway passes them through unread. A type that is not in ``TYPES`` fails closed in the core (reconcile.md section 7).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from setpoint.contracts.clock import rfc3339

_FAMILIES: Final = {
    "session": "created started hibernated failed quarantined closed recovered",
    "lease": "acquired released",
    "log": "truncated",
    "lock": "broken",
    "tool": "started finished",
    "command": "accepted succeeded failed cancelled rejected quarantined",
    "input": "quarantined",
    "resources": "applied",
    "workspace": "materialized lost restored snapshotted rolled_back",
    "evaluation": "started step_finished completed failed",
    "asset": "ready drifted blocked unblocked suspended resumed stale retired",
    "sync": "requested waiting started step_finished succeeded failed cancelled skipped outcome_unknown",
    "run": "adopted interrupted",
    "halt": "started ended",
    "plan": "computed applied rejected",
    "credential": "exchanged",
    "notification": "sent failed",
}

TYPES: Final[frozenset[str]] = frozenset(
    f"{family}.{name}" for family, names in _FAMILIES.items() for name in names.split()
)
"""Every event type there is. Adding one needs a new code version on both sides of every link first."""

COMMAND_ENDS: Final[frozenset[str]] = frozenset(
    f"command.{name}" for name in ("succeeded", "failed", "cancelled", "rejected", "quarantined")
)
"""The five ends of a command; every accepted command has exactly one."""

Payload = dict[str, Any]
"""The ``data`` of an event: JSON values only, at most limits.EVENT_BYTES_MAX encoded."""


class NewEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that a decision proposes; the log gives it its seq, epoch and time (the decision's ``now``)."""

    type: str
    data: Payload = {}
    v: int = 1
    command_id: str | None = None
    asset: str | None = None
    execution_id: str | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A committed row of a session's log. ``at`` is microseconds since the epoch, ``epoch`` is (incarnation, n).

    ``attachment`` is not part of the row: whoever feeds the core fills it with the referenced content of a
    ``resources.applied`` (the compiled set, by its sha256), so that folding stays a pure function of its input.
    """

    seq: int
    type: str
    at: int
    session_id: str
    epoch: tuple[int, int]
    data: Payload = {}
    v: int = 1
    command_id: str | None = None
    asset: str | None = None
    execution_id: str | None = None
    attachment: bytes | None = None

    def as_json(self) -> dict[str, object]:
        """Return the event as the API shows it (conventions.md, JSON)."""
        body: dict[str, object] = {
            "seq": self.seq,
            "type": self.type,
            "v": self.v,
            "at": rfc3339(self.at),
            "session_id": self.session_id,
            "epoch": list(self.epoch),
        }
        for key in ("command_id", "asset", "execution_id"):
            value = getattr(self, key)
            if value is not None:
                body[key] = value
        body["data"] = self.data
        return body


def committed(new: NewEvent, seq: int, at: int, session_id: str, epoch: tuple[int, int]) -> Event:
    """Return the row that ``new`` became."""
    return Event(seq, new.type, at, session_id, epoch, new.data, new.v, new.command_id, new.asset, new.execution_id)
