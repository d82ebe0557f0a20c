"""The parts of one gateway, handed to every route, and what routes share of a request. It owns no session state."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.auth import Authenticator, Principal
from gateway.compile_worker import CompilePool
from gateway.links import CellLinks
from gateway.pages import SharedPages
from gateway.store.database import Database
from gateway.watcher import Watcher
from setpoint.brokerlink import BrokerLink
from setpoint.contracts.codec import canonical_json
from setpoint.objects import ObjectStore

_BLOBS_AT_ONCE: Final = 4
"""Large blobs being received at a time: with 64 MiB each this bounds the memory that uploads may take."""

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


class Streams:
    """How many streams are open, of those that may be."""

    def __init__(self, most: int) -> None:
        self._most, self.open = most, 0

    def full(self) -> bool:
        """Tell whether no further stream may be opened."""
        return self.open >= self._most

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count one stream for the length of the block."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


def blob_room() -> asyncio.Semaphore:
    """Return the room for large blobs in memory."""
    return asyncio.Semaphore(_BLOBS_AT_ONCE)


def principal(request: web.Request) -> Principal:
    """Return who is asking; the middleware has put it there."""
    return request[PRINCIPAL]


def answer(body: object, status: int = 200, **headers: str) -> web.Response:
    """Render a JSON answer; header names are given with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=canonical_json(body), content_type="application/json", headers=named)


def page_answer(items: list[Any], cursor: str | None, **more: object) -> web.Response:
    """Render a page: its items, and the cursor of the next page or null after the last."""
    return answer({"items": items, "next": cursor} | more)
