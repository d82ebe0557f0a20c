"""Who follows which session, and how far each log has grown: one watcher for all streams of this process.

Hints from cell hosts make it quick; a poll of all followed heads once a second makes it right. It reads no events and
holds no client's data: a stream that is woken reads its own page.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from setpoint import runtime
from setpoint.contracts.limits import POLL_S
from setpoint.contracts.problem import Problem

Pair = tuple[str, str]
"""(tenant id, session id)"""

ReadHeads = Callable[[Sequence[Pair]], Awaitable[list[tuple[str, str, int]]]]
_POLL_PAIRS_MAX: Final = 1000
_WAKE_MAX: Final = 100
"""Streams woken in one turn of the loop: a session with 500 of them must not keep everybody else waiting."""


class Bells:
    """Wakes streams, a few in each turn of the event loop, in the order in which they were rung for."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Event, None] = {}  # in this order, each once
        self._is_ringing = False

    def ring(self, bells: Iterable[asyncio.Event]) -> None:
        """Set these events, some now and the others in turns to come."""
        self._waiting.update((bell, None) for bell in bells if not bell.is_set())
        if not self._is_ringing:
            self._ring()

    def _ring(self) -> None:
        for bell in list(islice(self._waiting, _WAKE_MAX)):
            del self._waiting[bell]
            bell.set()
        self._is_ringing = bool(self._waiting)
        if self._is_ringing:
            asyncio.get_running_loop().call_soon(self._ring)


class Tail:
    """The end of one followed session's log, as far as it is known here."""

    def __init__(self, bells: Bells) -> None:
        self.head_seq = 0
        self.followers: set[asyncio.Event] = set()
        self._bells = bells

    def note(self, head_seq: int) -> None:
        """Learn that the log has grown to ``head_seq``, and wake every follower."""
        if head_seq > self.head_seq:
            self.move(head_seq)

    def move(self, head_seq: int) -> None:
        """Take ``head_seq`` for the end of the log, also when it is less than what was known, and wake everybody."""
        self.head_seq = head_seq
        self._bells.ring(self.followers)


class View:
    """What one stream sees of the sessions that it follows."""

    def __init__(self, tails: Mapping[str, Tail]) -> None:
        self._tails = tails
        self._bell = asyncio.Event()

    def __enter__(self) -> View:
        for tail in self._tails.values():
            tail.followers.add(self._bell)
        return self

    def __exit__(self, *exc: object) -> None:
        for tail in self._tails.values():
            tail.followers.discard(self._bell)

    def tail(self, session_id: str) -> Tail:
        """Return the end of one of its sessions' logs."""
        return self._tails[session_id]

    def moved(self, cursors: Mapping[str, int]) -> list[str]:
        """Return the sessions whose log does not end where the reader is."""
        return [session_id for session_id, seq in cursors.items() if self._tails[session_id].head_seq != seq]

    async def until_moved(self, cursors: Mapping[str, int], within_s: float) -> None:
        """Wait until one of the logs has another end than the reader has seen, somebody wakes, or the time is over."""
        self._bell.clear()
        if not self.moved(cursors):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._bell.wait()


class Watcher:
    """The tails of all followed sessions. ``run`` polls until cancelled; ``close`` wakes everybody a last time."""

    def __init__(self, read_heads: ReadHeads) -> None:
        self._read_heads = read_heads
        self._tails: dict[Pair, Tail] = {}
        self._bells = Bells()
        self.closed = False

    @contextlib.contextmanager
    def follow(self, tenant_id: str, session_ids: Iterable[str]) -> Iterator[View]:
        """Give a view of some sessions of a tenant for the length of the block."""
        pairs = [(tenant_id, session_id) for session_id in session_ids]
        view = View({pair[1]: self._tails.setdefault(pair, Tail(self._bells)) for pair in pairs})
        try:
            with view:
                yield view
        finally:
            for pair in pairs:
                if not view.tail(pair[1]).followers:
                    self._tails.pop(pair, None)

    def note(self, heads: Iterable[tuple[str, str, int]]) -> None:
        """Learn heads from a hint; sessions that nobody follows are ignored."""
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
                    await self._poll(pairs[start : start + _POLL_PAIRS_MAX])
                was_away = False
            except Problem as problem:
                if not was_away:
                    runtime.log().warning("streams wait for the database", why=problem.detail)
                was_away = True
            await asyncio.sleep(POLL_S)

    async def _poll(self, pairs: Sequence[Pair]) -> None:
        """Read these heads. One below what was known before it was asked for: the database has gone back."""
        known = {pair: tail.head_seq for pair in pairs if (tail := self._tails.get(pair)) is not None}
        for tenant_id, session_id, head_seq in await self._read_heads(pairs):
            tail = self._tails.get((tenant_id, session_id))
            if tail is None:
                continue
            if head_seq < known.get((tenant_id, session_id), 0):
                tail.move(head_seq)
            else:
                tail.note(head_seq)

    def close(self) -> None:
        """Tell every stream to end. Idempotent."""
        self.closed = True
        for tail in self._tails.values():
            tail.move(tail.head_seq)
