"""Takes away rows that nobody needs any more: a few at a time, once a minute.

``app`` runs one in each broker; the database hands every row to one of them. Nothing depends on its being done: without
a broker the rows lie there. It never holds a row for longer than one short call.
"""

from __future__ import annotations

import asyncio
from typing import Final

from broker import meters
from broker.store import Store, StoreFault
from setpoint import runtime

ROWS: Final = 500
"""At most so many rows go in one call, so that none takes long."""
CALLS_MAX: Final = 40
"""Calls for one kind of row in one round: the rest waits for the next."""
PERIOD_S: Final = 60.0


class Janitor:
    """The rounds of one broker."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Make a round now and one a minute, until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(PERIOD_S)

    async def round(self) -> None:
        """Sweep every kind of row until none of it is left, or for CALLS_MAX calls; a fault ends that kind's turn."""
        for kind in self._store.SWEEPS:
            try:
                for _ in range(CALLS_MAX):
                    count = await self._store.sweep(kind, ROWS)
                    meters.SWEPT.labels(kind).inc(count)
                    if count < ROWS:
                        break
            except StoreFault as error:
                meters.SWEEPS_FAILED.labels(kind).inc()
                runtime.log().warning("rows were not swept", kind=kind, why=error.detail[:200])
