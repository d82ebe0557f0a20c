"""The group commit: the decisions of many sessions in one call, repeated until its outcome is known.

Owners hand in one item at a time and wait; each committer has one batch under way and takes everything that has come
meanwhile as its next. A call is never cancelled: what became of it would be unknown, and the next batch could meet it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import prometheus_client

from celld.plane.item import Item
from celld.plane.key import SessionKey
from migrations import door, named, outcome
from setpoint import runtime
from setpoint.contracts import limits

T = TypeVar("T")

_SQL: Final = named.beside(__file__)
_COMPANY_S: Final = 0.005
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

BATCH_ITEMS: Final = prometheus_client.Histogram(
    "setpoint_celld_batch_items", "Sessions per group commit", buckets=(1, 2, 4, 8, 16, 32, 64)
)
COMMITTED: Final = prometheus_client.Counter("setpoint_celld_events_total", "Events committed")

Status = Literal["committed", "fenced", "gone", "moved_head", "truncated", "lock_busy", "rejected"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item. Only ``committed`` is in the log; ``seq`` is the head as the database has it.

    fenced, gone: the session is somebody else's, or no more. moved_head: its cell is wrong. truncated: the log was
    lost. lock_busy: ``detail`` is the key and its holder. rejected: the database refuses these values, ``detail``.
    """

    status: Status
    seq: int
    detail: str = ""


@dataclass(eq=False)
class _Waiting:
    item: Item
    done: asyncio.Future[Outcome]


class Committer:
    """The queue and its workers. ``run`` serves it with ``workers`` connections until cancelled."""

    def __init__(self, pool: door.Pool, workers: int = 2) -> None:
        self._pool, self._workers = pool, workers
        self._queue: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._sessions: set[SessionKey] = set()

    async def commit(self, item: Item) -> Outcome:
        """Have an item committed; returns when its outcome is certain. A session has one item at a time."""
        assert item.key not in self._sessions, "a session is in at most one open batch"
        waiting = _Waiting(item, asyncio.get_running_loop().create_future())
        self._sessions.add(item.key)
        self._queue.append(waiting)
        self._filled.set()
        return await waiting.done  # a waiter that goes away takes nothing back: it may be in the log

    async def run(self) -> None:
        """Commit what is handed in, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for n in range(self._workers):
                tasks.create_task(self._work(n * _COMPANY_S))

    async def _work(self, patience_s: float) -> None:
        """Commit batch after batch. All workers but the first wait a moment for company, and for one that is free.

        A call costs as much before its first item as for ten events: two small batches at a time are dearer than one
        large after the other. A call that hangs holds nobody up for longer than that moment.
        """
        while True:
            await self._filled.wait()
            if patience_s and self._queue:  # else one that was free has taken it all
                await asyncio.sleep(patience_s)
            batch = take_batch(self._queue, lambda waiting: len(waiting.item.body))
            if not self._queue:
                self._filled.clear()
            if batch:
                BATCH_ITEMS.observe(len(batch))
                await self._settle(batch)

    async def _settle(self, batch: list[_Waiting]) -> None:
        """Commit a batch; one that holds values the database refuses is halved until the guilty item is alone."""
        try:
            outcomes = await self._append([waiting.item for waiting in batch])
        except outcome.BadInput as error:
            if len(batch) == 1:
                self._tell(batch[0], Outcome("rejected", 0, str(error)))
                return
            for half in halves(batch):
                await self._settle(half)
            return
        for waiting, became in zip(batch, outcomes, strict=True):
            self._tell(waiting, became)

    def _tell(self, waiting: _Waiting, became: Outcome) -> None:
        """Answer whoever still waits; from now on the session may hand in its next item."""
        self._sessions.discard(waiting.item.key)
        if not waiting.done.done():
            waiting.done.set_result(became)

    async def _append(self, items: Sequence[Item]) -> list[Outcome]:
        """Call append_batch until it answers. Raises BadInput."""
        payload = (b"[" + b",".join(item.body for item in items) + b"]").decode()
        rows = await self._call(payload, len(items))
        became = {row["ord"]: _outcome(row) for row in rows}
        outcomes = [became[n] for n in range(1, len(items) + 1)]
        for item, row in zip(items, sorted(rows, key=lambda row: int(row["ord"])), strict=True):
            if row["status"] == "already":  # the answer of an earlier call was lost; what it wrote was not
                runtime.log().info("commit was in the log already", session=item.key.session, seq=row["seq"])
        COMMITTED.inc(sum(item.count for item, one in zip(items, outcomes, strict=True) if one.status == "committed"))
        return outcomes

    async def _call(self, payload: str, sessions: int) -> list[door.Row]:
        attempt = 0
        while True:
            try:
                return await self._pool.fetch(_SQL["append"], payload)
            except (outcome.Retry, outcome.Unknown, outcome.Unavailable) as error:
                if attempt in (0, 20):
                    runtime.log().warning("commit repeated", why=str(error)[:200], sessions=sessions)
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1


def take_batch(queue: deque[T], size_of: Callable[[T], int]) -> list[T]:
    """Take the head of the queue: at most BATCH_SESSIONS_MAX items and, beyond the first, BATCH_BYTES_MAX bytes."""
    batch: list[T] = []
    size = 0
    while queue and len(batch) < limits.BATCH_SESSIONS_MAX:
        size += size_of(queue[0])
        if batch and size > limits.BATCH_BYTES_MAX:
            break
        batch.append(queue.popleft())
    return batch


def halves(batch: list[T]) -> tuple[list[T], list[T]]:
    """Cut a batch of two or more in two."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def _outcome(row: door.Row) -> Outcome:
    status: Status = "committed" if row["status"] in ("ok", "already") else row["status"]
    return Outcome(status, row["seq"] or 0, row["detail"] or "")
