"""The parts of one gateway, handed to every route, and what routes share of a request. It owns no session state."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Final
from weakref import WeakValueDictionary

from aiohttp import web

from gateway.auth import Authenticator, Principal
from gateway.compile_worker import CompilePool
from gateway.links import CellLinks
from gateway.pages import SharedPages
from gateway.store.database import Database
from gateway.watcher import Watcher
from setpoint.brokerlink import BrokerLink
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.limits import SSE_SESSIONS_PER_SHARE
from setpoint.contracts.problem import Problem
from setpoint.objects import ObjectStore

_BLOBS_AT_ONCE: Final = 4
"""Large blobs being received at a time: with 64 MiB each this bounds the memory that uploads may take."""

_OPENING_MAX: Final = 4
"""Streams that get their first page at a time: a hundred that come back at once must not delay those that are open."""

_OPENING_S_MAX: Final = 1.0
"""For so long a stream stands in line: behind reads of a database that is away it would neither speak nor end."""

_SHARE_S_MAX: Final = 20.0

PRINCIPAL: Final = web.RequestKey("principal", Principal)


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything a route may use."""

    database: Database
    authenticator: Authenticator
    objects: ObjectStore
    compiler: CompilePool
    watcher: Watcher
    pages: SharedPages
    links: CellLinks
    broker: BrokerLink
    streams: Streams
    blob_room: asyncio.Semaphore
    blob_shares: Shares
    compile_shares: Shares


class Streams:
    """How many streams are open, of those that may be: ``most`` in all, ``each`` of one tenant."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._open: Counter[str] = Counter()
        self._opening = asyncio.Semaphore(_OPENING_MAX)

    @contextlib.asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Have the block, which reads a stream's first page, wait for its turn, and go without after _OPENING_S_MAX."""
        has_turn = False
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OPENING_S_MAX):
                    has_turn = await self._opening.acquire()
            yield
        finally:
            if has_turn:
                self._opening.release()

    @contextlib.contextmanager
    def one(self, tenant_id: str, sessions: int = 1) -> Iterator[None]:
        """Count a stream for the length of the block: once for every ten sessions that it follows.

        Raises Problem quota-exceeded when it is one too many.
        """
        shares = ceil(sessions / SSE_SESSIONS_PER_SHARE)
        if self._open[tenant_id] + shares > self._each or self._open.total() + shares > self._most:
            raise Problem("quota-exceeded", "too many streams are open here", retry_after_s=5)
        self._open[tenant_id] += shares
        try:
            yield
        finally:
            self._open[tenant_id] -= shares
            if not self._open[tenant_id]:
                del self._open[tenant_id]


class Shares:
    """Costly work of which one tenant may do ``each`` at a time, so that no other tenant waits behind all of it."""

    def __init__(self, each: int) -> None:
        self._each = each
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def one(self, tenant_id: str) -> AsyncIterator[None]:
        """Wait for a share, and hold it for the length of the block. Raises Problem quota-exceeded after a while."""
        gate = self._gates.setdefault(tenant_id, asyncio.Semaphore(self._each))
        try:
            async with asyncio.timeout(_SHARE_S_MAX):
                await gate.acquire()
        except TimeoutError:
            raise Problem("quota-exceeded", "too much of this is under way already", retry_after_s=2) from None
        try:
            yield
        finally:
            gate.release()


def blob_room() -> asyncio.Semaphore:
    """Return the room for large blobs in memory."""
    return asyncio.Semaphore(_BLOBS_AT_ONCE)


def principal(request: web.Request) -> Principal:
    """Return who is asking; the middleware has put it there."""
    return request[PRINCIPAL]


def is_gone(request: web.Request) -> bool:
    """Tell whether the client has closed its connection: nobody says so to a route that waits."""
    return request.transport is None or request.transport.is_closing()


def answer(body: object, status: int = 200, **headers: str) -> web.Response:
    """Render a JSON answer; header names are given with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=canonical_json(body), content_type="application/json", headers=named)


def page_answer(items: list[Any], cursor: str | None, **more: object) -> web.Response:
    """Render a page: its items, and the cursor of the next page or null after the last."""
    return answer({"items": items, "next": cursor} | more)
