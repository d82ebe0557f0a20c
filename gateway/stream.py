"""One client's stream of sessions' logs. Called by the events routes; ends with its client, sessions or gateway.

It pulls: a client that does not read is asked for nothing and costs one page of memory, and one that blocks too long
is cut off and resumes with its Last-Event-ID. Only committed events are ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Mapping
from typing import Final

import prometheus_client
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway import sse
from gateway.edge import Edge, is_gone, principal
from gateway.pages import Block
from gateway.watcher import View
from setpoint.contracts import limits
from setpoint.contracts.problem import Problem

_CLIENTS: Final = prometheus_client.Gauge("setpoint_gateway_streams", "Event streams that are open now")
_SENT: Final = prometheus_client.Counter("setpoint_gateway_stream_events", "Events sent on streams")
_CUT: Final = prometheus_client.Counter(
    "setpoint_gateway_streams_cut", "Event streams ended because the client did not read"
)
_IN_VAIN_S: Final = 0.05
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


async def follow(
    edge: Edge, request: web.Request, cursors: Mapping[str, int], *, is_one_of_several: bool = False
) -> web.StreamResponse:
    """Send the logs of sessions, each after its seq, and go on as they grow. ``cursors``: session id -> seq.

    Raises Problem quota-exceeded before anything is sent.
    """
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
    )
    tenant_id = principal(request).tenant_id
    with edge.streams.one(tenant_id, len(cursors)), edge.watcher.follow(tenant_id, cursors) as view:
        writer = await response.prepare(request)
        assert writer is not None, "nothing was sent before"
        _bound_buffers(request)
        _CLIENTS.inc()
        try:
            await _Stream(edge, request, writer, view, dict(cursors), is_one_of_several).run()
        except TimeoutError:
            _CUT.inc()
            _abort(request)
        except ConnectionError:
            _abort(request)  # it is gone and resumes where it was; nothing here has to be undone
        finally:
            _CLIENTS.dec()
    return response


def _bound_buffers(request: web.Request) -> None:
    """Keep what waits for a slow reader small, in the kernel and here: otherwise megabytes would count as sent."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=0)
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SSE_SOCKET_BYTES)


def _abort(request: web.Request) -> None:
    """Close the connection without what the client has not read: it would lie in the kernel for as long as it likes."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()


class _Stream:
    """The state of one stream: where it is, when it last said something, and when its key was last checked."""

    def __init__(
        self,
        edge: Edge,
        request: web.Request,
        writer: AbstractStreamWriter,
        view: View,
        cursors: dict[str, int],
        is_one_of_several: bool,
    ) -> None:
        self._edge, self._request, self._writer, self._view = edge, request, writer, view
        self._tenant_id = principal(request).tenant_id
        self._cursors, self._is_one_of_several = cursors, is_one_of_several
        self._unseen, self._ended = set(cursors), dict[str, int]()
        self._in_vain = 0
        self._said_s = self._checked_s = time.monotonic()

    async def run(self) -> None:
        """Send until the sessions have ended, the gateway stops, or the key is no longer good."""
        await self._say(sse.OPENING)
        while not self._edge.watcher.closed:
            await self._round()
            if not self._cursors:
                await self._say(sse.END)
                return
            # Looked at once a second: a client that has gone must not hold its place until the next heartbeat.
            wait_s = self._said_s + limits.SSE_HEARTBEAT_S - time.monotonic()
            if not self._unseen:
                await self._view.until_moved(self._cursors, min(limits.POLL_S, max(0.0, wait_s)))
            if is_gone(self._request) or not await self._may_go_on():
                return
            if time.monotonic() - self._said_s >= limits.SSE_HEARTBEAT_S:
                await self._say(sse.HEARTBEAT)

    async def _round(self) -> None:
        """Send a page of each session that has moved: a long log of one does not hold up the others."""
        moved = self._unseen.union(self._view.moved(self._cursors))
        has_sent = False
        try:
            for session_id in [each for each in self._cursors if each in moved]:
                has_sent = await self._advance(session_id) or has_sent
        except Problem:
            # The answer has begun, so it cannot become a problem document: wait for better times instead.
            await asyncio.sleep(limits.POLL_S)
        if has_sent and self._is_one_of_several:
            await self._say(sse.resume(self._ended | self._cursors))
        self._in_vain = 0 if has_sent or not moved else self._in_vain + 1
        if self._in_vain > 1:  # once is a read that began before the hint came; a hint may also be wrong for a while
            await asyncio.sleep(_IN_VAIN_S)

    async def _advance(self, session_id: str) -> bool:
        """Send the next page of a session; tells whether there was one. Raises Problem unavailable."""
        tail = self._view.tail(session_id)
        async with self._edge.streams.opening() if session_id in self._unseen else contextlib.nullcontext():
            block: Block | None = await self._edge.pages.after(
                self._tenant_id,
                session_id,
                self._cursors[session_id],
                known_seq=tail.head_seq,
                is_one_of_several=self._is_one_of_several,
            )
        assert block is not None
        self._unseen.discard(session_id)
        tail.note(block.head_seq)
        if block.head_seq < self._cursors[session_id]:
            which = session_id if self._is_one_of_several else None
            await self._say(sse.reset(block.head_seq, session_id=which))
            self._cursors[session_id] = 0
            return False
        count, last_seq = block.count, block.last_seq
        is_over = block.state == "closed" and last_seq >= block.head_seq
        if count:
            said = self._say(block.content)
            block = None  # a client that blocks has its page in the transport: it must not hold another one here
            await said
            _SENT.inc(count)
        self._cursors[session_id] = last_seq
        if is_over:
            self._ended[session_id] = self._cursors.pop(session_id)
        return bool(count)

    async def _may_go_on(self) -> bool:
        """Check the key again at times, also of a stream that is never silent: a stream must not outlive its key."""
        if time.monotonic() - self._checked_s < limits.SSE_HEARTBEAT_S:
            return True
        try:
            await self._edge.authenticator.check(self._request.headers)
        except Problem as problem:
            return problem.kind.retry
        self._checked_s = time.monotonic()
        return True

    async def _say(self, content: bytes) -> None:
        """Write, and wait until the client has taken it. Raises TimeoutError when that takes too long."""
        async with asyncio.timeout(limits.SSE_WRITE_S_MAX):
            await self._writer.write(content)
            del content
            await self._writer.drain()
        self._said_s = time.monotonic()
