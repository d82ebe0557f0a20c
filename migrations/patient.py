"""A pool for daemons that must never hang on Postgres: calls are bounded in time and number, and repeated when lost.

The gateway's and the broker's stores stand on it. A call that is sent is never cut off, because a commit that is
cancelled has an unknown outcome; only the caller stops waiting. So every call made here must be repeatable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from migrations import door, outcome
from setpoint import runtime

T = TypeVar("T")

_ATTEMPTS_MAX: Final = 3
_BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0)


class Away(Exception):
    """The database did not answer in time, or there are too many calls already: the same call may work later."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who connects and within which bounds. ``calls_max`` bounds what piles up during an outage."""

    role: str
    size: int
    calls_max: int


class PatientPool:
    """A pool that is opened as soon as the database is there. Until then every call raises Away."""

    def __init__(self, dsn: str, terms: Terms) -> None:
        self._dsn, self._terms = dsn, terms
        self._pool: door.Pool | None = None
        self._calls = 0

    async def open(self) -> bool:
        """Try once to open the pool; False when the database cannot be reached.

        Raises door.Refused when the database is not one that this program may work on.
        """
        try:
            terms = self._terms
            self._pool = await door.open_pool(self._dsn, role_check=terms.role, size=terms.size, cached=True)
        except outcome.Fault as error:
            runtime.log().warning("database cannot be reached", why=error.detail[:200])
            return False
        return True

    async def keep_open(self) -> None:
        """Return as soon as the pool is open, trying again with back-off until then. Raises door.Refused."""
        attempt = 0
        while self._pool is None and not await self.open():
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def call(self, query: Callable[[door.Pool], Awaitable[T]], within_s: float) -> T:
        """Run a call that may be repeated. Raises Away, outcome.BadInput, outcome.Forbidden."""
        if self._calls >= self._terms.calls_max:
            raise Away("too many calls wait for the database")
        self._calls += 1
        task = asyncio.ensure_future(self._attempts(query))
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait((task,), timeout=within_s)  # takes nothing back, whatever becomes of the caller
        if not done:
            raise Away("the database did not answer in time")
        return task.result()

    def _ended(self, task: asyncio.Future[T]) -> None:
        self._calls -= 1
        if not task.cancelled():
            task.exception()  # seen: a call that nobody waits for any more must not warn

    async def _attempts(self, query: Callable[[door.Pool], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            if self._pool is None:
                raise Away("the database cannot be reached")
            try:
                return await query(self._pool)
            except (outcome.BadInput, outcome.Forbidden):
                raise
            except outcome.Fault as error:
                attempt += 1
                if attempt >= _ATTEMPTS_MAX:
                    raise Away(f"the database cannot serve this now: {error.detail[:200]}") from error
                await asyncio.sleep(_BACKOFF_S[attempt - 1])
