"""Server-sent events of sessions' logs: events into bytes, and what a stream says besides events. Pure.

The stream follows the HTML standard: ``id`` is the seq, ``event`` the type, ``data`` the event's JSON on one line. A
stream of several sessions has ``session:seq`` for an id, and after each round an event whose id is where all of them
are: the Last-Event-ID of a client is then enough to go on with every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from setpoint.contracts.codec import canonical_json
from setpoint.contracts.event import Event

RETRY_MS: Final = 1000
OPENING: Final = f"retry: {RETRY_MS}\n".encode()
"""Sent at once. It is no block of its own (some clients would report an empty event) but opens the first one."""

HEARTBEAT: Final = b": still here\n\n"
END: Final = b"event: end\ndata: {}\n\n"
"""What was followed is closed and every event of it was sent: there is nothing to reconnect for."""

_encode = msgspec.json.Encoder().encode


def block(events: Iterable[Event], *, is_one_of_several: bool = False) -> bytes:
    """Join events into one write: seven times the throughput of a write for each."""
    return b"".join(_event(event, f"{event.session_id}:" if is_one_of_several else "") for event in events)


def resume(cursors: Mapping[str, int]) -> bytes:
    """Say where every session of the stream is, in an id from which all of them go on."""
    pairs = ",".join(f"{session_id}:{seq}" for session_id, seq in cursors.items())
    return b"id: " + pairs.encode() + b"\nevent: resume\ndata: {}\n\n"


def reset(head_seq: int, reason: str = "cursor_ahead", session_id: str | None = None) -> bytes:
    """Say that the client's cursor means nothing here; what follows starts again after seq 0.

    It has no ``id``: the client keeps its cursor until it got the first event of the new count. ``session_id`` is said
    on a stream of several.
    """
    which = {} if session_id is None else {"session_id": session_id}
    body = canonical_json({"reason": reason, "head_seq": head_seq, "after": 0} | which)
    return b"event: reset\ndata: " + body + b"\n\n"


def _event(event: Event, prefix: str) -> bytes:
    return b"id: %s%d\nevent: %s\ndata: %s\n\n" % (
        prefix.encode(),
        event.seq,
        event.type.encode(),
        _encode(event.as_json()),
    )
