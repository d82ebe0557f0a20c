"""Pages of the log for streams, read and encoded once however many clients wait for the same one.

Called by the streams. A thousand followers of one session stand at the same seq when an event arrives: without this
each would ask the database for it. They are woken a few at a time, so a page is kept for a moment after it was read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway import sse
from gateway.joined import Joined
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

    A reader that joins a read gets what it saw, which is at least what its own cursor knows. A block that was kept is
    good for a reader who knows of nothing behind it, or when it was as much as fits a page.
    """

    def __init__(self, read_page: ReadPage) -> None:
        self._read_page = read_page
        self._reads: Joined[_Key, Block] = Joined()
        self._kept: dict[_Key, tuple[Block, float]] = {}  # oldest first
        self._kept_bytes = 0

    async def after(
        self, tenant_id: str, session_id: str, seq: int, *, known_seq: int = 0, is_one_of_several: bool = False
    ) -> Block:
        """Return what follows a seq, of a log that is known to have ``known_seq``. Raises Problem unavailable."""
        key = ((tenant_id, session_id), seq, is_one_of_several)
        self._forget(time.monotonic() - _KEEP_S)
        if key in self._kept:
            block = self._kept[key][0]
            if block.last_seq >= known_seq or block.last_seq < block.head_seq:
                return block
        return await self._reads.read(key, lambda: self._read(key))

    async def _read(self, key: _Key) -> Block:
        (tenant_id, session_id), seq, is_one_of_several = key
        page = await self._read_page(tenant_id, session_id, seq, PAGE_ITEMS_MAX, SSE_PAGE_BYTES_MAX)
        last_seq = page.events[-1].seq if page.events else seq
        content = sse.block(page.events, is_one_of_several=is_one_of_several)
        block = Block(content, len(page.events), last_seq, page.head_seq, page.state)
        if block.count:  # where nothing follows yet, something may in a moment
            self._drop(key)
            self._kept[key] = (block, time.monotonic())
            self._kept_bytes += len(content)
        return block

    def _forget(self, before_s: float) -> None:
        """Drop what was read too long ago, and the oldest while all of it is too much."""
        while self._kept:
            _, at_s = next(iter(self._kept.values()))
            if at_s >= before_s and self._kept_bytes <= SSE_PAGES_KEPT_BYTES_MAX:
                return
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        if key in self._kept:
            self._kept_bytes -= len(self._kept.pop(key)[0].content)
