"""The gateway's way to Postgres: reads under a tenant's eyes, calls that may write, and never a hang.

Every store calls ``read`` or ``call``. Neither waits longer than DATABASE_S_MAX: then the caller gets ``unavailable``
while a write that was sent goes on, because a commit is never cancelled; whoever asked may repeat it under its key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from migrations import door, named, outcome, patient
from setpoint.contracts.problem import Problem

T = TypeVar("T")

DATABASE_S_MAX: Final = 5.0
_TERMS: Final = patient.Terms(role="setpoint_gateway", size=8, calls_max=512)
_SQL: Final = named.beside(__file__)


class Database:
    """The pool of one gateway. ``keep_open`` makes it and waits for a database that is not there yet."""

    def __init__(self, dsn: str) -> None:
        self._pool = patient.PatientPool(dsn, _TERMS)
        self.open, self.keep_open, self.close = self._pool.open, self._pool.keep_open, self._pool.close

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
        try:
            return await self._pool.call(query, within_s)
        except patient.Away as error:
            raise Problem("unavailable", str(error), retry_after_s=1) from error
        except outcome.BadInput as error:
            raise Problem("validation-failed", f"the database refuses these values: {error.detail}") from error
