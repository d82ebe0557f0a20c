"""The gateway's way to Postgres: bounded in time and number, and never a hang.

Every store calls ``read`` or ``write``. Neither waits longer than DATABASE_S_MAX: then the caller gets ``unavailable``
while a write that was sent goes on, because a commit is never cancelled; whoever asked may repeat it under its key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from migrations import door, named, outcome
from setpoint import runtime
from setpoint.contracts.problem import Problem

T = TypeVar("T")

DATABASE_S_MAX: Final = 5.0
CALLS_MAX: Final = 512
"""Calls that wait for a connection or an answer; more are refused at once, so that an outage does not pile up."""

_ROLE: Final = "setpoint_gateway"
_POOL_SIZE: Final = 8
_ATTEMPTS_MAX: Final = 3
_BACKOFF_S: Final = (0.05, 0.2, 0.5, 1.0)
_SQL: Final = named.beside(__file__)


class Database:
    """The pool of one gateway. ``keep_open`` makes it and waits for a database that is not there yet."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: door.Pool | None = None
        self._calls = 0

    async def open(self) -> bool:
        """Try once to open the pool; False when the database cannot be reached.

        Raises door.Refused when the database is not one that this program may work on.
        """
        try:
            self._pool = await door.open_pool(self._dsn, role_check=_ROLE, size=_POOL_SIZE, cached=True)
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

    async def is_reachable(self, within_s: float) -> bool:
        """Tell whether a query is answered in time."""
        try:
            await self._bounded(lambda pool: pool.fetchval(_SQL["alive"]), within_s)
        except Problem:
            return False
        return True

    async def read(self, tenant_id: str, query: Callable[[door.Connection], Awaitable[T]]) -> T:
        """Run ``query`` in a read-only snapshot that shows the rows of this tenant alone. Raises Problem."""

        async def body(pool: door.Pool) -> T:
            async with door.tenant_transaction(pool, tenant_id) as connection:
                return await query(connection)

        return await self._bounded(body, DATABASE_S_MAX)

    async def call(self, query: Callable[[door.Pool], Awaitable[T]]) -> T:
        """Run one statement that may write. It must be one that may be repeated: a lost answer is asked for again."""
        return await self._bounded(query, DATABASE_S_MAX)

    async def _bounded(self, query: Callable[[door.Pool], Awaitable[T]], within_s: float) -> T:
        if self._calls >= CALLS_MAX:
            raise Problem("unavailable", "too many requests wait for the database", retry_after_s=1)
        self._calls += 1
        task = asyncio.ensure_future(self._attempts(query))
        task.add_done_callback(self._ended)
        try:
            # Shielded: the caller stops waiting, the call itself is never cut while it commits.
            async with asyncio.timeout(within_s):
                return await asyncio.shield(task)
        except TimeoutError:
            raise _away("it did not answer in time") from None

    def _ended(self, task: asyncio.Future[T]) -> None:
        self._calls -= 1
        if not task.cancelled():
            task.exception()  # seen: a call that nobody waits for any more must not warn

    async def _attempts(self, query: Callable[[door.Pool], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            if self._pool is None:
                raise _away("it cannot be reached")
            try:
                return await query(self._pool)
            except outcome.BadInput as error:
                raise Problem("validation-failed", f"the database refuses these values: {error.detail}") from error
            except outcome.Forbidden:
                raise
            except outcome.Fault as error:
                attempt += 1
                if attempt >= _ATTEMPTS_MAX:
                    raise _away(type(error).__name__.lower()) from error
                await asyncio.sleep(_BACKOFF_S[attempt - 1])


def _away(why: str) -> Problem:
    return Problem("unavailable", f"the database cannot serve this now: {why}", retry_after_s=1)
