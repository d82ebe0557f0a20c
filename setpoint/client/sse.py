"""The event stream of a session, resumed by itself.

The CLI follows sessions with this. A lost connection, a restarted gateway or a slow moment costs nothing: the stream
goes on after the last seq that was yielded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import httpx_sse
import msgspec

from setpoint.client.api import Client, problem_of
from setpoint.contracts.problem import Problem

_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_READ_S: Final = 40.0


def follow(
    client: Client,
    session: str,
    after: int,
    *,
    deadline_s: float | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[dict[str, Any]]:
    """Yield the events of a session after seq ``after``, for ever or until ``deadline_s`` (monotonic seconds).

    Raises TimeoutError at the deadline, Problem for an answer that trying again will not change.
    """
    failures = 0
    while True:
        try:
            for event in _connection(client, session, after, deadline_s):
                if "seq" not in event:
                    return
                after = int(event["seq"])
                failures = 0
                yield event
        except httpx.HTTPError as error:
            note(f"stream lost ({type(error).__name__}), resuming after {after}")
        except Problem as problem:
            if not problem.kind.retry:
                raise
            note(f"{problem.detail}; resuming after {after}")
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise TimeoutError
        time.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
        failures += 1


def _connection(client: Client, session: str, after: int, deadline_s: float | None) -> Iterator[dict[str, Any]]:
    """Yield the events of one connection; an item without ``seq`` says that the session's stream has ended."""
    read_s = _READ_S if deadline_s is None else max(0.1, min(_READ_S, deadline_s - time.monotonic()))
    timeout = httpx.Timeout(30.0, connect=5.0, read=read_s)
    path = f"/v1/sessions/{session}/events"
    headers = {"Last-Event-ID": str(after)}
    with httpx_sse.connect_sse(client.http, "GET", path, headers=headers, timeout=timeout) as source:
        if not source.response.is_success:
            raise problem_of(source.response)
        for message in source.iter_sse():
            if message.event == "end":
                yield {}
                return
            if message.id and message.data:
                yield msgspec.json.decode(message.data, type=dict[str, Any])
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise TimeoutError
