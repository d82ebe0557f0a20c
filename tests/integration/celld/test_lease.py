"""The lease of a cell host on connections that die, freeze, or lead to a server that only reads."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from celld.plane.lease import Lease, LeaseTerms
from setpoint import runtime
from tests.integration.celld.harness import World, until
from tests.wire import wired

TTL_S = 4.0


@contextlib.asynccontextmanager
async def leased(dsn: str, host: str = "cell-a") -> AsyncIterator[Lease]:
    """Keep a lease while the body runs; this loop shows that it moves."""
    lease = Lease(LeaseTerms(dsn, host, str(uuid.uuid4()), "127.0.0.1:1", b"k" * 32, TTL_S))

    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def bump() -> None:
        lease.bump()
        timers[:] = [loop.call_later(0.05, bump)]

    bump()
    await lease.start()
    try:
        yield lease
    finally:
        timers[0].cancel()
        await lease.stop()


async def test_one_frozen_connection_does_not_cost_the_lease(w: World) -> None:
    async with wired(w.database.dsn("setpoint_celld")) as (wire, dsn), leased(dsn) as lease:
        await lease.renewal_after(runtime.boottime_s())
        assert wire.stall_now() == 1, "the lease has one connection"
        frozen_s = runtime.boottime_s()
        async with asyncio.timeout(TTL_S * 2 / 3):  # before the host may start no more effects
            await lease.renewal_after(frozen_s)
        assert not lease.lost.done()


async def test_a_connection_that_freezes_while_it_is_opened_is_given_up_as_well(w: World) -> None:
    async with wired(w.database.dsn("setpoint_celld")) as (wire, dsn), leased(dsn) as lease:
        await lease.renewal_after(runtime.boottime_s())
        wire.stall()
        sent_s = lease.sent_s
        await until(lambda: _over(wire.connections >= 2), "it opens another")
        wire.stall_now()
        wire.heal()
        async with asyncio.timeout(TTL_S):
            await lease.renewal_after(sent_s)
        assert not lease.lost.done()


async def test_a_lease_whose_database_never_answers_is_lost_when_it_is_over(w: World) -> None:
    async with wired(w.database.dsn("setpoint_celld")) as (wire, dsn), leased(dsn) as lease:
        await lease.renewal_after(runtime.boottime_s())
        wire.stall()
        async with asyncio.timeout(3 * TTL_S):
            why = await lease.lost
        assert why == "not renewed for 4 s"
        assert runtime.boottime_s() - lease.sent_s >= TTL_S - 0.1


async def _over(holds: bool) -> bool:
    return holds
