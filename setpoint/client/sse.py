"""The event streams of sessions, resumed by themselves.

The CLI follows sessions with this. A lost connection, a restarted gateway or a slow moment costs nothing: the stream
goes on after the last event that was yielded, at whichever gateway answers under the client's address.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import httpx
import httpx_sse
import msgspec

from setpoint.client.api import Client, problem_of
from setpoint.contracts.problem import Problem

_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_READ_S: Final = 40.0
Json = dict[str, Any]


def follow(
    client: Client,
    session: str,
    after: int,
    *,
    deadline_s: float | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Json]:
    """Yield the events of a session after seq ``after``, for ever or until ``deadline_s`` (monotonic seconds).

    It ends when the session is closed. When the log has become shorter (a restored database) it is noted and the events
    come again from seq 1. Raises TimeoutError at the deadline, Problem for an answer that trying again will not change.
    """
    place = _One(session, after)
    yield from _resumed(client, place, deadline_s, note)


def follow_several(
    client: Client,
    sessions: Mapping[str, int],
    *,
    deadline_s: float | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Json]:
    """Yield the events of several sessions, each after its seq, on one connection; like ``follow`` in all else.

    ``sessions``: session id (no name) -> seq. An event says its ``session_id``; none is yielded twice.
    """
    yield from _resumed(client, _Several(dict(sessions)), deadline_s, note)


class _One:
    """Where a reader of one session is."""

    def __init__(self, session: str, after: int) -> None:
        self.path = f"/v1/sessions/{session}/events"
        self.query: list[tuple[str, str]] = []
        self._after = after

    def __str__(self) -> str:
        return str(self._after)

    def take(self, event: Json) -> bool:
        """Go on to an event; tells whether it is a new one."""
        self._after = int(event["seq"])
        return True

    def start_again(self, reset: Json) -> str:
        """Go back to the start; says of what."""
        self._after = 0
        return "the log"


class _Several:
    """Where a reader of several sessions is."""

    def __init__(self, after: dict[str, int]) -> None:
        self.path = "/v1/events"
        self.query = [("session", session) for session in after]
        self._after = after

    def __str__(self) -> str:
        return ",".join(f"{session}:{seq}" for session, seq in self._after.items())

    def take(self, event: Json) -> bool:
        """Go on to an event; tells whether it is a new one."""
        session, seq = str(event["session_id"]), int(event["seq"])
        is_new = seq > self._after[session]
        self._after[session] = max(seq, self._after[session])
        return is_new

    def start_again(self, reset: Json) -> str:
        """Go back to the start of a session's log; says which."""
        session = str(reset["session_id"])
        self._after[session] = 0
        return f"the log of {session}"


def _resumed(
    client: Client, place: _One | _Several, deadline_s: float | None, note: Callable[[str], None]
) -> Iterator[Json]:
    failures = 0
    while True:
        try:
            for message in _connection(client, place, deadline_s):
                failures = 0
                if message.event == "end":
                    return
                if message.event == "reset":
                    what = place.start_again(message.json())
                    note(f"{what} has become shorter: it comes again from its start")
                elif message.event != "resume" and message.data:
                    event = msgspec.json.decode(message.data, type=Json)
                    if place.take(event):
                        yield event
        except httpx.HTTPError as error:
            note(f"stream lost ({type(error).__name__}), resuming after {place}")
        except Problem as problem:
            if not problem.kind.retry:
                raise
            note(f"{problem.detail}; resuming after {place}")
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise TimeoutError
        time.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
        failures += 1


def _connection(
    client: Client, place: _One | _Several, deadline_s: float | None
) -> Iterator[httpx_sse.ServerSentEvent]:
    """Yield what one connection says. Raises TimeoutError at the deadline, httpx.HTTPError when it breaks."""
    read_s = _READ_S if deadline_s is None else max(0.1, min(_READ_S, deadline_s - time.monotonic()))
    timeout = httpx.Timeout(30.0, connect=5.0, read=read_s)
    headers = {"Last-Event-ID": str(place)}
    with httpx_sse.connect_sse(
        client.http, "GET", place.path, params=place.query, headers=headers, timeout=timeout
    ) as source:
        if not source.response.is_success:
            raise problem_of(source.response)
        for message in source.iter_sse():
            yield message
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise TimeoutError
