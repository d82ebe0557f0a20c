"""The two back ends of the conformance suite: the model and a real Postgres, called and looked at in the same way.

The real one runs the migrated functions as they are, under the real roles. One thing is changed in its copy of the
database: the functions find a ``clock_timestamp`` of the test before the server's own, so that time stands still until
a test moves it and both back ends can be compared to the microsecond.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

import asyncpg

from migrations.door import Pool, open_pool
from migrations.outcome import BadInput
from setpoint.contracts.clock import moment
from tests.integration.conformance.rows import Dump, model_dump, real_dump
from tests.integration.conformance.signatures import SIGNATURES, Signature, plain
from tests.integration.protocol.world import Database
from tests.sim.postgres.tables import Key, Tables
from tests.sim.postgres.wire import Fate, Wire

START_US: Final = 1_795_256_754_123_457

POOL: Final = 3
"""Connections of a role: as many calls may meet."""

CLOCK: Final = """
CREATE TABLE setpoint.conformance_clock (now timestamptz);
INSERT INTO setpoint.conformance_clock VALUES ('epoch');
GRANT SELECT, UPDATE ON setpoint.conformance_clock TO PUBLIC;
CREATE FUNCTION setpoint.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT now FROM setpoint.conformance_clock';
GRANT EXECUTE ON FUNCTION setpoint.clock_timestamp TO PUBLIC;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'setpoint'::regnamespace AND prosecdef LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = setpoint, pg_catalog, pg_temp', f);
    END LOOP;
END $$;
"""

EMPTY: Final = """
DELETE FROM setpoint.sessions; DELETE FROM setpoint.session_heads; DELETE FROM setpoint.session_wakes;
DELETE FROM setpoint.events; DELETE FROM setpoint.session_snapshots; DELETE FROM setpoint.generations;
DELETE FROM setpoint.session_assets; DELETE FROM setpoint.asset_locks; DELETE FROM setpoint.commands;
DELETE FROM setpoint.command_inbox; DELETE FROM setpoint.command_results; DELETE FROM setpoint.idempotency_keys;
DELETE FROM setpoint.fenced_writes; DELETE FROM setpoint.cell_hosts; DELETE FROM setpoint.sandbox_hosts;
DELETE FROM setpoint.audit_log;
UPDATE setpoint.cluster SET incarnation = 1;
"""


class Refusal(NamedTuple):
    """The values were refused: nothing was written."""

    sqlstate: str


class Backend(Protocol):
    """What a test may do with either database."""

    @property
    def now(self) -> int:
        """The database's clock."""
        ...

    async def call(self, name: str, *args: Any) -> Any:
        """Call a function of the schema: its rows (one row, a list, or a value), or a Refusal."""
        ...

    async def advance(self, us: int) -> None:
        """Move the clock."""
        ...

    async def dump(self) -> Dump:
        """Return all rows of all tables that the model has."""
        ...

    async def while_running(self, pause: Key, name: str, *args: Any, during: Callable[[], Awaitable[None]]) -> None:
        """Run ``host_register`` or ``host_dead``, and ``during`` between its snapshot and its commit.

        ``pause``: a session that the call makes due; in the real database its wake row is what the call waits for.
        """
        ...


class Model:
    """The model behind its wire."""

    def __init__(self) -> None:
        self.wire, self.now = Wire(Tables()), START_US

    async def call(self, name: str, *args: Any) -> Any:
        return self.ask(name, *args)

    def ask(self, name: str, *args: Any, **more: Any) -> Any:
        """Call without a loop. ``more``: what only the model takes."""
        signature = SIGNATURES[name]
        answer, fault = self.wire.call(self.now, signature.model, *args, **more)
        return Refusal(fault.sqlstate) if fault is not None else _in_order(signature, answer)

    async def advance(self, us: int) -> None:
        self.now += us

    async def dump(self) -> Dump:
        return self.rows()

    def rows(self) -> Dump:
        """Return all rows."""
        return model_dump(self.wire.db)

    async def while_running(self, pause: Key, name: str, *args: Any, during: Callable[[], Awaitable[None]]) -> None:
        self.wire.cut(self.now, Fate.LOST_LATE, SIGNATURES[name].model, *args)
        await during()
        self.wire.land(self.wire.late[-1], self.now)


class Real:
    """A database of its own, with a few connections for each role and one of the administrator."""

    def __init__(self, database: Database, pools: dict[str, Pool], admin: Any) -> None:
        self._database, self._pools, self._admin, self.now = database, pools, admin, START_US

    async def call(self, name: str, *args: Any) -> Any:
        signature = SIGNATURES[name]
        sent = [signature.cast[at](arg) if at in signature.cast else arg for at, arg in enumerate(args)]
        if name == "release":
            sent += [None] * (9 - len(sent))
        elif name == "create_session":
            sent += [None] * (7 - len(sent))
        try:
            rows = await self._pools[signature.role].fetch(signature.sql, *sent)
        except BadInput as error:
            return Refusal(error.sqlstate)
        if signature.scalar:
            value = rows[0][0]
            return None if value == "" else value
        found = [plain(row) for row in rows]
        return (found[0] if found else None) if signature.one else _in_order(signature, found)

    async def advance(self, us: int) -> None:
        self.now += us
        await self._set_clock()

    async def dump(self) -> Dump:
        return await real_dump(self._pools["setpoint_migrate"])

    async def empty(self) -> None:
        """Delete all rows and set the clock back."""
        await self._admin.execute(EMPTY)
        self.now = START_US
        await self._set_clock()

    async def while_running(self, pause: Key, name: str, *args: Any, during: Callable[[], Awaitable[None]]) -> None:
        signature = SIGNATURES[name]
        sent = [signature.cast[at](arg) if at in signature.cast else arg for at, arg in enumerate(args)]
        blocker, caller = _raw(self._database.admin_dsn), _raw(self._database.dsn(signature.role))
        async with blocker as third, caller as running:
            await running.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
            transaction = third.transaction()
            await transaction.start()
            insert = "INSERT INTO setpoint.session_wakes (tenant_id, session_id, wake_at) VALUES ($1, $2, 'infinity')"
            await third.execute(insert, *pause)
            call = asyncio.create_task(running.fetch(signature.sql, *sent))
            async with asyncio.timeout(10):
                while not await self.waiting():
                    pass
            await during()
            await transaction.rollback()
            await call

    @contextlib.asynccontextmanager
    async def holding_heads(self) -> AsyncIterator[None]:
        """Hold the heads of all sessions in a transaction of a third party until the context ends."""
        async with self._admin.transaction():
            await self._admin.execute("SELECT 1 FROM setpoint.session_heads FOR UPDATE")
            yield

    async def waiting(self) -> int:
        """Return how many backends of this database wait for a lock."""
        sql = """SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE NOT l.granted AND a.datname = current_database()"""
        count: int = await self._pools["setpoint_migrate"].fetchval(sql)
        return count

    async def _set_clock(self) -> None:
        sql = "UPDATE setpoint.conformance_clock SET now = $1"
        await self._pools["setpoint_migrate"].execute(sql, moment(self.now))


@contextlib.asynccontextmanager
async def real(database: Database) -> AsyncIterator[Real]:
    """Open the real back end on a database that has the clock."""
    async with contextlib.AsyncExitStack() as stack:
        pools = {}
        for role in sorted({signature.role for signature in SIGNATURES.values()}):
            pools[role] = await open_pool(database.dsn(role), role_check=role, size=POOL, cached=True)
            stack.push_async_callback(pools[role].close)
        yield Real(database, pools, await stack.enter_async_context(_raw(database.admin_dsn)))


async def give_clock(admin_dsn: str) -> None:
    """Put a clock of the test into a migrated database. Durability is of no use there, speed is."""
    async with _raw(admin_dsn) as admin:
        await admin.execute(CLOCK)
        name = await admin.fetchval("SELECT current_database()")
        await admin.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')


@contextlib.asynccontextmanager
async def _raw(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def _in_order(signature: Signature, answer: Any) -> Any:
    """Put rows whose order the function leaves open into one, and take their names off."""
    if not isinstance(answer, list):
        return answer if answer is None or not isinstance(answer, tuple) else tuple(answer)
    rows = [tuple(row) for row in answer]
    return rows if signature.order else sorted(rows)
