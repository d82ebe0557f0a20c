"""How far a drain has come, and what holds up the rest. Pure; ``operator`` answers with it.

A host is drained by those who own the sessions; this only says what they still have to do, and why they cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from broker.registry import takes_sessions
from broker.store import HostRow, Left

LEFT_MAX: Final = 20
"""So many of the sessions that are left are named."""


def progress(row: HostRow, rows: Sequence[HostRow], total: int, left: Sequence[Left]) -> dict[str, Any]:
    """Return what an operator sees of a drain.

    ``left``: awake sessions that have to leave the host; ``asleep``: sessions whose workspace is there and that get
    another when they wake; ``sessions``: some of those that are left or that stay, each with why; ``why``: what holds
    up all of them, empty when nothing does.
    """
    failed = sum(one.failed for one in left)
    held_up = _held_up(row, rows)
    asleep = 0 if row.role == "cell" else max(0, row.sessions - total - failed)
    return {
        "host": row.host,
        "role": row.role,
        "ordered": row.ordered,
        "left": total,
        "asleep": asleep,
        "done": total == 0,
        "why": held_up if total else "",
        "sessions": [
            {"tenant_id": one.tenant, "session_id": one.session, "name": one.name, "why": held_up or _why(row, one)}
            for one in left
        ],
    }


def others(row: HostRow, rows: Sequence[HostRow]) -> int:
    """Count the other hosts of a host's kind that take what it gives away."""
    return sum(other.role == row.role and other.host != row.host and takes_sessions(other) for other in rows)


def _held_up(row: HostRow, rows: Sequence[HostRow]) -> str:
    """Say why none can leave; empty when they can."""
    if row.ordered != "drain":
        return "the host is not being drained (setpoint host drain)"
    if not others(row, rows):
        takes = "cell host takes sessions" if row.role == "cell" else "sandbox host takes workspaces"
        return f"no other {takes}: start one, or uncordon one"
    if row.role == "cell" and row.expires_in_s is not None and row.expires_in_s <= 0:
        return "its lease is over: another host takes its sessions over"
    return ""


def _why(row: HostRow, one: Left) -> str:
    if row.role == "cell":
        return "its turn has not come, or its last decision is being written"
    if one.failed:
        return "it has failed and nothing runs in it: it stays, and holds up nothing"
    if one.runs:
        return f"a run is open: {', '.join(one.runs)}; it leaves when that has ended"
    if one.unended:
        return "a command has not ended; it leaves when nothing runs"
    return "its turn has not come, or its new workspace is being made"
