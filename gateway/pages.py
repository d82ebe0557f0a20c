"""Pages of the log for streams, read and encoded once however many clients wait for the same one.

Called by the streams. A thousand followers of one session stand at the same seq when an event arrives: without this
each would ask the database for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway import sse
from gateway.store.events import Page
from gateway.watcher import Pair
from setpoint.contracts.limits import PAGE_ITEMS_MAX, SSE_BUFFER_BYTES_MAX

_PAGE_BYTES_MAX = SSE_BUFFER_BYTES_MAX // 2  # encoded for the stream an event is wider than in its row

ReadPage = Callable[[str, str, int, int, int], Awaitable[Page]]
"""(tenant, session, after, items at most, bytes at most) -> page"""


@dataclass(frozen=True, slots=True)
class Block:
    """A page as a stream sends it: ``last_seq`` is where it ends, the seq asked after when it is empty."""

    content: bytes
    count: int
    last_seq: int
    head_seq: int
    state: str


class SharedPages:
    """The reads under way. A reader that joins one gets what it saw, which is at least what its own cursor knows."""

    def __init__(self, read_page: ReadPage) -> None:
        self._read_page = read_page
        self._under_way: dict[tuple[Pair, int], asyncio.Task[Block]] = {}

    async def after(self, tenant_id: str, session_id: str, seq: int) -> Block:
        """Return what follows a seq. Raises Problem unavailable."""
        key = ((tenant_id, session_id), seq)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._read(tenant_id, session_id, seq))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # Shielded: a client that goes away must not take the others' page with it.
        return await asyncio.shield(task)

    async def _read(self, tenant_id: str, session_id: str, seq: int) -> Block:
        page = await self._read_page(tenant_id, session_id, seq, PAGE_ITEMS_MAX, _PAGE_BYTES_MAX)
        last_seq = page.events[-1].seq if page.events else seq
        return Block(sse.block(page.events), len(page.events), last_seq, page.head_seq, page.state)

    def _ended(self, key: tuple[Pair, int], task: asyncio.Task[Block]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: every client may have gone meanwhile
