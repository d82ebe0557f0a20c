"""The one thread in which the ledger is used while the event loop runs, so that no request waits for another's disk.

The host, the runner and the workspaces share one. It knows nothing of what it carries out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from sandboxd.ledger import Ledger

P = ParamSpec("P")
T = TypeVar("T")


class LedgerThread:
    """The one thread in which the ledger is used while the event loop runs: calls are carried out in their order."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._thread = ThreadPoolExecutor(1, "ledger")

    async def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Carry out one method of the ledger and return its answer; done even when the caller is cancelled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, lambda: method(*args, **kwargs)))

    def close(self) -> None:
        """Wait for the calls under way, then close the file."""
        self._thread.shutdown(wait=True)
        self.ledger.close()
