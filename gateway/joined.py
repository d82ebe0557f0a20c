"""One read for all who ask the same at the same time: what a crowd of clients costs the database.

Pages of the log and look-ups of keys go through it. It keeps nothing: whoever asks after the answer asks anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Joined(Generic[K, V]):
    """The reads under way, by what they read."""

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[V]] = {}

    async def read(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return what the read under way for ``key`` finds, ``start`` one when there is none. Raises what it raises."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(start())
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # Not the task itself: a client that goes away must not take the others' answer with it.
        await asyncio.wait((task,))
        return task.result()

    def _ended(self, key: K, task: asyncio.Task[V]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: everybody may have gone meanwhile
