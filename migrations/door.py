"""The one door to Postgres: pools, transactions and the meaning of what goes wrong.

Stores, planes and the runner call this; nothing else imports the driver. It holds no SQL of any store. It never sets a
time limit on a call, because the driver's limit cancels on the server and a commit must never be cancelled: whoever
cannot wait shields the call, waits beside it, and then repeats it.

uuid columns come and go as canonical strings, jsonb as JSON text, timestamptz as aware datetimes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import asyncpg

from migrations import catalogue, named
from migrations.outcome import BadInput, Retry, Unavailable, Unknown, of_sqlstate

CONNECT_S_MAX: Final = 5.0
CLOSE_S_MAX: Final = 5.0
_READ_ONLY: Final = "25006"
_AT_HAND_S: Final = 1.0
_SQL: Final = named.beside(__file__)

Row = asyncpg.Record
"""One row: by column name or position."""


class Refused(Exception):
    """The database is not one this code may work on: wrong role or password, or a schema version it does not know."""


class Connection:
    """One connection for as long as its context lasts. Errors come as the words of ``migrations.outcome``."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run one statement and return all its rows."""
        with _meaning():
            rows: list[Row] = await self._raw.fetch(sql, *args)
            return rows

    async def fetchrow(self, sql: str, *args: object) -> Row | None:
        """Run one statement and return its first row, or None."""
        with _meaning():
            row: Row | None = await self._raw.fetchrow(sql, *args)
            return row

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Run one statement and return the first column of its first row, or None."""
        with _meaning():
            return await self._raw.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> None:
        """Run one statement, or without arguments a whole script, for its effect."""
        with _meaning():
            await self._raw.execute(sql, *args)

    async def prepare(self, sql: str) -> None:
        """Have the server parse and check one statement without running it."""
        with _meaning():
            await self._raw.prepare(sql)

    @contextlib.asynccontextmanager
    async def transaction(self, *, reading: bool = False) -> AsyncIterator[None]:
        """Open a transaction: commit at the end, roll back when the body raises.

        ``reading`` asks for one snapshot over all statements and forbids writes. Unknown out of the end of a writing
        transaction means that it may have committed.
        """
        isolation = "repeatable_read" if reading else "read_committed"
        transaction = self._raw.transaction(isolation=isolation, readonly=reading)
        with _meaning():
            await transaction.start()
        try:
            yield
        except BaseException:
            # What the body raised is what matters; a server that cannot be told forgets the transaction by itself.
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await transaction.rollback()
            raise
        with _meaning():
            await transaction.commit()


class Pool:
    """At most ``size`` connections of one role. The short forms run one statement each, in a transaction of its own.

    A connection that comes back clean stays at hand for a moment: to give it to the driver's pool and to ask for it
    again takes longer than most statements, and the answer of the statement waits for it.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._at_hand: list[Any] = []
        self._asking = 0
        self._tidy: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection; waits while all are out. Raises Unavailable when none can be made."""
        async with self._lent(self._take() or await self._ask()) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _lent(self, raw: Any) -> AsyncIterator[Connection]:
        """Lend a connection for the length of the block, and keep it at hand when it comes back clean."""
        is_clean = False
        try:
            yield Connection(raw)
            is_clean = True
        except Unavailable as error:
            self._leave_if_demoted(raw, error)
            raise
        finally:
            if not (is_clean and self._keep(raw)):
                await self._release(raw)

    @staticmethod
    def _leave_if_demoted(raw: Any, error: Unavailable) -> None:
        """End a connection to a server that was demoted: the next one may lead to its successor."""
        if error.sqlstate == _READ_ONLY:
            raw.terminate()

    def _take(self) -> Any | None:
        """Return a connection that is at hand."""
        while self._at_hand:
            raw = self._at_hand.pop()
            if _is_whole(raw):
                return raw
            with contextlib.suppress(asyncpg.InterfaceError):
                raw.terminate()  # the server has gone: the driver hears that its place is free, or has heard
        return None

    async def _ask(self) -> Any:
        """Ask the driver's pool, which makes connections and knows how many there may be."""
        self._asking += 1
        try:
            with _meaning(connecting=True):
                return await self._raw.acquire()
        finally:
            self._asking -= 1

    def _keep(self, raw: Any) -> bool:
        """Keep a connection at hand, unless somebody waits for the driver to get it back or it is not what it was."""
        if self._asking or self._raw.is_closing() or not _is_whole(raw):
            return False
        self._at_hand.append(raw)
        if self._tidy is None:
            self._tidy = asyncio.get_running_loop().call_later(_AT_HAND_S, self._give_back)
        return True

    def _give_back(self) -> None:
        """Give what is at hand to the driver, which ends what is not used for long."""
        if self._tidy is not None:
            self._tidy.cancel()
        self._tidy = None
        for raw in self._at_hand:
            task = asyncio.get_running_loop().create_task(self._release(raw))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)
        self._at_hand.clear()

    async def _release(self, raw: Any) -> None:
        # A connection that cannot be given back is cut by the driver; what was done on it stands all the same.
        lost = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
        with contextlib.suppress(*lost):
            await self._raw.release(raw)

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run one statement and return all its rows."""
        rows: list[Row] = await self._statement("fetch", sql, args)
        return rows

    async def fetchrow(self, sql: str, *args: object) -> Row | None:
        """Run one statement and return its first row, or None."""
        row: Row | None = await self._statement("fetchrow", sql, args)
        return row

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Run one statement and return the first column of its first row, or None."""
        return await self._statement("fetchval", sql, args)

    async def execute(self, sql: str, *args: object) -> None:
        """Run one statement for its effect."""
        await self._statement("execute", sql, args)

    async def _statement(self, method: str, sql: str, args: tuple[object, ...]) -> Any:
        """Do what ``connection`` does around one statement, in fewer turns: every command passes here four times."""
        raw = self._take()
        if raw is None:
            async with self.connection() as connection:
                return await getattr(connection, method)(sql, *args)
        is_clean = False
        try:
            with _meaning():
                answer = await getattr(raw, method)(sql, *args)
            is_clean = True
        except Unavailable as error:
            self._leave_if_demoted(raw, error)
            raise
        finally:
            if not (is_clean and self._keep(raw)):
                await self._release(raw)
        return answer

    def cut(self) -> None:
        """End all connections at once without a word to the server; calls under way raise Unknown. Nothing is after."""
        if self._tidy is not None:
            self._tidy.cancel()
        self._at_hand.clear()
        self._raw.terminate()

    async def close(self) -> None:
        """Close all connections; those still busy after CLOSE_S_MAX are cut. Idempotent."""
        self._give_back()
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._raw.close()
        except TimeoutError:
            self._raw.terminate()


async def open_pool(dsn: str, *, role_check: str | None = None, size: int = 8, cached: bool = False) -> Pool:
    """Open a pool on a migrated database.

    ``role_check``: the role the daemon must run as. ``cached`` keeps prepared statements on the server, one round trip
    less a call; leave it off behind a pooler that works by transaction. Raises Unavailable when the database cannot be
    reached, Refused when it is at another schema version, or the role or its password is another.
    """
    with _meaning(connecting=True):
        raw = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            timeout=CONNECT_S_MAX,
            connection_class=_Plain,
            init=_settle,
            statement_cache_size=100 if cached else 0,
        )
    pool = Pool(raw)
    try:
        await _check(pool, role_check)
    except BaseException:
        await pool.close()
        raise
    return pool


@contextlib.asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[Connection]:
    """Open a single connection for the runner and the operator's commands: no schema is expected to be there."""
    with _meaning(connecting=True):
        raw = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX, statement_cache_size=0)
        await _settle(raw)
    try:
        yield Connection(raw)
    finally:
        # It is over either way: a connection that does not close in time is cut.
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await raw.close(timeout=CLOSE_S_MAX)


@contextlib.asynccontextmanager
async def tenant_transaction(pool: Pool, tenant_id: str) -> AsyncIterator[Connection]:
    """Read as one tenant: a read-only snapshot in which row-level security shows the rows of ``tenant_id`` alone."""
    async with pool.connection() as connection, connection.transaction(reading=True):
        await connection.execute(_SQL["set_tenant"], tenant_id)
        yield connection


class _Plain(asyncpg.Connection):
    """Nothing is ever set on a session outside a transaction, so nothing needs a reset between borrowers."""

    def get_reset_query(self) -> str:
        return ""


def _is_whole(raw: Any) -> bool:
    """Tell whether a borrowed connection is open and outside a transaction."""
    try:
        return not (raw.is_closed() or raw.is_in_transaction())
    except asyncpg.InterfaceError:  # it broke, and the driver has taken it away
        return False


async def _settle(raw: Any) -> None:
    await raw.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")


async def _check(pool: Pool, role: str | None) -> None:
    try:
        row = await pool.fetchrow(_SQL["whoami"])
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError) as error:
        raise Refused("the database has no Setpoint schema: run 'setpoint-migrate up'") from error
    assert row is not None, "a query without FROM has one row"
    known = catalogue.newest()
    if row["version"] != known:
        hint = "run 'setpoint-migrate up'" if row["version"] < known else "this program is older than the database"
        raise Refused(f"the schema is at version {row['version']}, this program works on {known}: {hint}")
    if role is not None and row["role"] != role:
        raise Refused(f"connected as {row['role']}, but this process runs as {role}")


@contextlib.contextmanager
def _meaning(*, connecting: bool = False) -> Iterator[None]:
    """Turn what the driver raises into the words of ``outcome``; what has no word passes through as it came."""
    lost = Unavailable if connecting else Unknown
    try:
        yield
    except asyncpg.PostgresError as error:
        state, text = error.sqlstate or "", str(error)
        if state == "XX000" and "concurrently" in text:  # two sessions altered one catalogue row
            raise Retry(text, state) from error
        if connecting and (state.startswith("28") or state == "3D000"):
            raise Refused(text) from error
        word = of_sqlstate(state, connecting=connecting)
        if word is None:
            raise
        raise word(text, state) from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):  # a value that does not fit its parameter's type
            raise BadInput(str(error), "22000") from error
        raise lost(str(error)) from error  # closed, or closing: what it had sent is in doubt
    except (OSError, asyncpg.InternalClientError) as error:
        raise lost(str(error) or type(error).__name__) from error
