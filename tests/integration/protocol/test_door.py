"""The pool: connections that stay at hand for a moment take nobody's place and carry nothing over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from migrations.door import Pool, connect, open_pool
from migrations.outcome import BadInput, Fault
from tests.integration.protocol.world import Database

PID = "SELECT pg_backend_pid()"
WAIT_S = 20.0


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    pool = await open_pool(database.dsn("setpoint_gateway"), size=2, cached=True)
    yield pool
    await pool.close()


async def test_one_statement_after_the_other_is_one_connection(pool: Pool) -> None:
    assert len({await pool.fetchval(PID) for _ in range(10)}) == 1


async def test_no_more_connections_than_there_may_be_and_nobody_starves(pool: Pool) -> None:
    async def some() -> set[int]:
        found = set()
        for _ in range(20):
            async with pool.connection() as connection:
                found.add(await connection.fetchval(PID))
        return found

    async with asyncio.timeout(WAIT_S):
        found = await asyncio.gather(*(some() for _ in range(12)))
    assert len(set().union(*found)) <= 2


async def test_whoever_waits_gets_the_connection_that_comes_back_next(pool: Pool) -> None:
    async with asyncio.timeout(WAIT_S), pool.connection():
        async with pool.connection():
            waiting = asyncio.create_task(pool.fetchval(PID))
            await asyncio.sleep(0)
        assert await waiting


async def test_a_connection_whose_server_process_ended_is_not_used_again(pool: Pool, database: Database) -> None:
    before = await pool.fetchval(PID)
    async with connect(database.admin_dsn) as admin:
        await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", before)
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                after = await pool.fetchval(PID)
                break
            except Fault:  # it was sent before anybody here could know
                continue
    assert after != before


async def test_a_transaction_left_open_ends_with_its_borrower(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("SELECT set_config('setpoint.tenant', 'x', true)")
    assert not await pool.fetchval("SELECT current_setting('setpoint.tenant', true)")


async def test_what_failed_leaves_a_connection_that_works(pool: Pool) -> None:
    with pytest.raises(BadInput):
        await pool.fetchval("SELECT 1 / $1::int", 0)
    assert await pool.fetchval("SELECT 1") == 1


async def test_closing_does_not_wait_for_what_is_only_at_hand(pool: Pool) -> None:
    await asyncio.gather(*(pool.fetchval(PID) for _ in range(4)))
    async with asyncio.timeout(2.0):  # a connection that is out would hold it up for CLOSE_S_MAX
        await pool.close()
