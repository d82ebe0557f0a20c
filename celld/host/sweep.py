"""Once a second, or at once when poked: take sessions that are due, bury dead hosts, compare what is ours.

It is what makes every hint dispensable: a lost poke, an absent broker and a dead host are all found here.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from celld.host.orders import Orders
from celld.host.owners import Owners
from celld.plane.ownership import Due, Ownership
from migrations import outcome
from setpoint import failpoints, runtime
from setpoint.contracts import limits

_ACQUIRES_AT_ONCE: Final = 4


class Sweep:
    """The poll of one host. ``run`` goes on until cancelled; ``look`` makes it look for due sessions now."""

    def __init__(self, ownership: Ownership, owners: Owners, orders: Orders) -> None:
        self._ownership, self._owners, self._orders = ownership, owners, orders
        self._poked = asyncio.Event()
        self._acquiring = asyncio.Semaphore(_ACQUIRES_AT_ONCE)
        self._polled_s = 0.0
        self._said = False

    def look(self) -> None:
        """Look for due sessions now."""
        self._poked.set()

    async def run(self) -> None:
        """Sweep until cancelled. A database that is away is waited for."""
        while True:
            self._poked.clear()
            try:
                await self._turn()
                self._said = False
            except outcome.Fault as error:
                if not self._said:
                    runtime.log().warning("sweep failed", why=str(error)[:200])
                self._said = True
                await asyncio.sleep(limits.POLL_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._polled_s + limits.POLL_S - runtime.boottime_s())):
                    await self._poked.wait()

    async def _turn(self) -> None:
        now_s = runtime.boottime_s()
        if now_s >= self._polled_s + limits.POLL_S:
            self._polled_s = now_s
            before = self._owners.known()
            self._owners.reconcile(await self._ownership.owned(), before)
            await self._orders.read(self._ownership)
            buried = await self._ownership.bury_dead_hosts()
            if buried:
                runtime.log().warning("sessions of dead hosts are due", hosts=buried)
        while due := await self._ownership.claim():
            await asyncio.gather(*(self._acquire(one) for one in due))
            if len(due) < limits.WAKE_CLAIM_MAX:
                return

    async def _acquire(self, due: Due) -> None:
        async with self._acquiring:
            try:
                held = await self._ownership.acquire(due)
            except outcome.Fault as error:  # the claim runs out and the session is due again
                runtime.log().warning("acquire failed", session=due.key.session, why=str(error)[:200])
                return
        if held is not None:
            failpoints.hit("celld.acquire.after")
            runtime.log().info("session acquired", session=due.key.session, epoch=held.epoch)
            self._owners.start(held)
