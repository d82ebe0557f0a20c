"""The one thread in which the ledger is used while the event loop runs, so that no request waits for another's disk.

The host, the runner and the workspaces share one. It knows nothing of what it carries out. Calls that come while the
disk is busy are carried out together afterwards and reach the disk at once: each answer comes when all are there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from sandboxd.ledger import Ledger

P = ParamSpec("P")
T = TypeVar("T")

TOGETHER_MAX: Final = 64
"""How many calls share one transaction at most."""


class LedgerThread:
    """The one thread in which the ledger is used while the event loop runs: calls are carried out in their order."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._busy: asyncio.Task[None] | None = None

    async def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Carry out one method of the ledger and return its answer; done even when the caller is cancelled."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((lambda: method(*args, **kwargs), answer))
        if self._busy is None:
            self._busy = asyncio.create_task(self._carry_out())
        return await answer

    def close(self) -> None:
        """Carry out what is left and close the file."""
        self._thread.shutdown(wait=True)
        left = [work for work, _ in self._waiting]
        self._waiting.clear()
        if left:
            self.ledger.together(left)
        self.ledger.close()

    async def _carry_out(self) -> None:
        """Hand over what waits, time and again, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER_MAX))]
                outcomes = await loop.run_in_executor(self._thread, self.ledger.together, [work for work, _ in taken])
                for (_, answer), outcome in zip(taken, outcomes, strict=True):
                    _give(answer, outcome)
        finally:
            self._busy = None


def _give(answer: asyncio.Future[Any], outcome: object) -> None:
    if answer.done():
        return  # whoever asked was cancelled
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
