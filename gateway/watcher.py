"""Who follows which session, and how far each log has grown: one watcher for all streams of this process.

Hints from cell hosts make it quick; a poll of all followed heads once a second makes it right. It reads no events and
holds no client's data: a stream that is woken reads its own page.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

from setpoint import runtime
from setpoint.contracts.limits import POLL_S
from setpoint.contracts.problem import Problem

Pair = tuple[str, str]
"""(tenant id, session id)"""

ReadHeads = Callable[[Sequence[Pair]], Awaitable[list[tuple[str, str, int]]]]
_POLL_PAIRS_MAX: Final = 1000


class Tail:
    """The end of one followed session's log, as far as it is known here. It only grows."""

    def __init__(self) -> None:
        self.head_seq = 0
        self.followers = 0
        self._moved = asyncio.Event()

    def note(self, head_seq: int) -> None:
        """Learn that the log has grown to ``head_seq``, and wake every follower."""
        if head_seq > self.head_seq:
            self.head_seq = head_seq
            self.wake()

    def wake(self) -> None:
        """Wake every follower, whatever the head."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def beyond(self, seq: int, within_s: float) -> bool:
        """Wait until the log goes beyond ``seq`` or somebody wakes; False when the time is over first."""
        if self.head_seq > seq:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._moved.wait()
                return True
        return False


class Watcher:
    """The tails of all followed sessions. ``run`` polls until cancelled; ``close`` wakes everybody a last time."""

    def __init__(self, read_heads: ReadHeads) -> None:
        self._read_heads = read_heads
        self._tails: dict[Pair, Tail] = {}
        self.closed = False

    @contextlib.contextmanager
    def follow(self, tenant_id: str, session_id: str) -> Iterator[Tail]:
        """Give the tail of a session for the length of the block."""
        pair = (tenant_id, session_id)
        tail = self._tails.setdefault(pair, Tail())
        tail.followers += 1
        try:
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers:
                self._tails.pop(pair, None)

    def note(self, heads: Iterable[tuple[str, str, int]]) -> None:
        """Learn heads, from a hint or a poll; sessions that nobody follows are ignored."""
        for tenant_id, session_id, head_seq in heads:
            tail = self._tails.get((tenant_id, session_id))
            if tail is not None:
                tail.note(head_seq)

    async def run(self) -> None:
        """Poll the followed heads once a second until cancelled. A database that is away only makes streams late."""
        was_away = False
        while True:
            pairs = list(self._tails)
            try:
                for start in range(0, len(pairs), _POLL_PAIRS_MAX):
                    self.note(await self._read_heads(pairs[start : start + _POLL_PAIRS_MAX]))
                was_away = False
            except Problem as problem:
                if not was_away:
                    runtime.log().warning("streams wait for the database", why=problem.detail)
                was_away = True
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Tell every stream to end. Idempotent."""
        self.closed = True
        for tail in self._tails.values():
            tail.wake()
