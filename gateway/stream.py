"""One client's stream of a session's log. Called by the events route; ends with its client, session or gateway.

It pulls: a client that does not read is asked for nothing and costs one page of memory, and one that blocks too long
is cut off and resumes with its Last-Event-ID. Only committed events are ever sent.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import prometheus_client
from aiohttp import web

from gateway import sse
from gateway.edge import Edge, is_gone, principal
from gateway.watcher import Tail
from setpoint.contracts import limits
from setpoint.contracts.problem import Problem

_CLIENTS: Final = prometheus_client.Gauge("setpoint_gateway_streams", "Event streams that are open now")
_SENT: Final = prometheus_client.Counter("setpoint_gateway_stream_events", "Events sent on streams")


async def follow(edge: Edge, request: web.Request, session_id: str, after: int) -> web.StreamResponse:
    """Send the log after a seq, and go on as it grows. Raises Problem quota-exceeded before anything is sent."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
    )
    tenant_id = principal(request).tenant_id
    with edge.streams.one(tenant_id), edge.watcher.follow(tenant_id, session_id) as tail:
        await response.prepare(request)
        _CLIENTS.inc()
        try:
            await _Stream(edge, request, response, tail, session_id, after).run()
        except (TimeoutError, ConnectionError):
            # Too slow, or gone. The client resumes where it was; nothing here has to be undone.
            if request.transport is not None:
                request.transport.abort()
        finally:
            _CLIENTS.dec()
    return response


class _Stream:
    """The state of one stream: where it is, and when it last said something."""

    def __init__(
        self, edge: Edge, request: web.Request, response: web.StreamResponse, tail: Tail, session_id: str, after: int
    ) -> None:
        self._edge, self._request, self._response, self._tail = edge, request, response, tail
        self._session_id, self._cursor = session_id, after
        self._said_s = time.monotonic()

    async def run(self) -> None:
        """Send until the session has ended, the gateway stops, or the key is no longer good."""
        await self._say(sse.OPENING)
        while not self._edge.watcher.closed:
            if not await self._advance():
                return
            wait_s = self._said_s + limits.SSE_HEARTBEAT_S - time.monotonic()
            # Looked at once a second: a client that has gone must not hold its place until the next heartbeat.
            await self._tail.beyond(self._cursor, min(limits.POLL_S, max(0.0, wait_s)))
            if is_gone(self._request):
                return
            if time.monotonic() - self._said_s >= limits.SSE_HEARTBEAT_S:
                if not await self._may_go_on():
                    return
                await self._say(sse.HEARTBEAT)

    async def _advance(self) -> bool:
        """Send everything that is there; False when nothing will ever follow."""
        while not self._edge.watcher.closed:
            try:
                block = await self._edge.pages.after(principal(self._request).tenant_id, self._session_id, self._cursor)
            except Problem:
                # The answer has begun, so it cannot become a problem document: wait for better times instead.
                await asyncio.sleep(limits.POLL_S)
                return True
            self._tail.note(block.head_seq)
            if block.head_seq < self._cursor:
                await self._say(sse.reset(block.head_seq))
                self._cursor = 0
                continue
            if block.count:
                await self._say(block.content)
                _SENT.inc(block.count)
                self._cursor = block.last_seq
            if self._cursor >= block.head_seq:
                if block.state == "closed":
                    await self._say(sse.END)
                    return False
                return True
        return False

    async def _may_go_on(self) -> bool:
        """Check the key again: a stream must not outlive it."""
        try:
            await self._edge.authenticator.check(self._request.headers)
        except Problem as problem:
            return problem.kind.retry
        return True

    async def _say(self, content: bytes) -> None:
        async with asyncio.timeout(limits.SSE_WRITE_S_MAX):
            await self._response.write(content)
        self._said_s = time.monotonic()
