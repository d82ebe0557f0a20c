"""Pages of the log for streams, read and encoded once however many clients wait for the same one.

Called by the streams. A thousand followers of one session stand at the same seq when an event arrives: without this
each would ask the database for it. They are woken a few at a time, so a page is kept for a moment after it was read.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway import sse
from gateway.store.events import Page
from gateway.watcher import Pair
from setpoint.contracts.limits import PAGE_ITEMS_MAX, SSE_PAGE_BYTES_MAX, SSE_PAGES_KEPT_BYTES_MAX

_KEEP_S: Final = 1.0

ReadPage = Callable[[str, str, int, int, int], Awaitable[Page]]
"""(tenant, session, after, items at most, bytes at most) -> page"""

_Key = tuple[Pair, int, bool]


@dataclass(frozen=True, slots=True)
class Block:
    """A page as a stream sends it: ``last_seq`` is where it ends, the seq asked after when it is empty."""

    content: bytes
    count: int
    last_seq: int
    head_seq: int
    state: str


class SharedPages:
    """The reads under way, and what was just read.

    A reader that joins a read gets what it saw, which is at least what its own cursor knows. A block that was kept may
    know an older end of the log than its reader; what is in it does not change.
    """

    def __init__(self, read_page: ReadPage) -> None:
        self._read_page = read_page
        self._under_way: dict[_Key, asyncio.Task[Block]] = {}
        self._kept: OrderedDict[_Key, tuple[Block, float]] = OrderedDict()
        self._kept_bytes = 0

    async def after(self, tenant_id: str, session_id: str, seq: int, *, is_one_of_several: bool = False) -> Block:
        """Return what follows a seq. Raises Problem unavailable."""
        key = ((tenant_id, session_id), seq, is_one_of_several)
        self._forget(time.monotonic() - _KEEP_S)
        if key in self._kept:
            return self._kept[key][0]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._read(key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # Shielded: a client that goes away must not take the others' page with it.
        return await asyncio.shield(task)

    async def _read(self, key: _Key) -> Block:
        (tenant_id, session_id), seq, is_one_of_several = key
        page = await self._read_page(tenant_id, session_id, seq, PAGE_ITEMS_MAX, SSE_PAGE_BYTES_MAX)
        last_seq = page.events[-1].seq if page.events else seq
        content = sse.block(page.events, is_one_of_several=is_one_of_several)
        return Block(content, len(page.events), last_seq, page.head_seq, page.state)

    def _ended(self, key: _Key, task: asyncio.Task[Block]) -> None:
        self._under_way.pop(key, None)
        if task.cancelled() or task.exception():  # seen: every client may have gone meanwhile
            return
        block = task.result()
        if block.count:  # where nothing follows yet, something may in a moment
            self._kept[key] = (block, time.monotonic())
            self._kept_bytes += len(block.content)

    def _forget(self, before_s: float) -> None:
        """Drop what was read too long ago, and the oldest while all of it is too much."""
        while self._kept:
            block, at_s = next(iter(self._kept.values()))
            if at_s >= before_s and self._kept_bytes <= SSE_PAGES_KEPT_BYTES_MAX:
                return
            self._kept.popitem(last=False)
            self._kept_bytes -= len(block.content)
