"""Which input is being delivered, noted where it outlives this host, once somebody has died unexplained.

Each owner has one; a life asks it before it has an input decided. An input that ends the whole cell host leaves its
note behind, and the next owner counts. It costs a write an input, so it is done for a minute after a death only. It
never decides what becomes of an input: it says how many have died of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from celld.host.deaths import ON_ONE_INPUT_MAX
from celld.plane import delivery
from celld.plane.key import Held
from migrations import door, outcome
from setpoint import runtime

WATCH_S: Final = 60.0
"""An input that ended its host waits for the next owner, and is among the first that it delivers."""

_RETRY_S: Final = 0.2
_WAIT_S: Final = 1.0
_WAIT_S_MAX: Final = 300.0
_DOUBLINGS_MAX: Final = 9


class Poisonous(Exception):
    """Three deaths are this command's: it is not delivered any more."""


class Watch:
    """The suspicions of one owner. ``suspects`` is one lock for the host: suspects are delivered one at a time.

    Else all that were under way when a host died would look alike, and would be set aside together.
    """

    def __init__(self, pool: door.Pool, held: Held, suspects: asyncio.Lock) -> None:
        self._pool, self._held, self._suspects = pool, held, suspects
        self._deaths: Counter[int] = Counter()
        self._until_s = 0.0
        self._noted = False

    async def begin(self) -> None:
        """Learn what the owner before us was at when it ended."""
        left = await self._left()
        if left.suspect is not None:
            self._deaths[left.suspect] = left.deaths + 1
        if left.suspect is not None or not left.given:
            self._until_s = runtime.boottime_s() + WATCH_S

    def died(self, name: str | None) -> None:
        """Note the death of a cell, at an input or unexplained (None)."""
        self._until_s = runtime.boottime_s() + WATCH_S
        if name is not None:
            self._deaths[_digest(name)] += 1

    def clear(self, name: str) -> None:
        """Forget an input: it was decided, or set aside."""
        self._deaths.pop(_digest(name), None)

    @property
    def on(self) -> bool:
        """Tell whether inputs are to be watched over: somebody has died lately."""
        return runtime.boottime_s() < self._until_s

    @property
    def notes(self) -> bool:
        """Tell whether there is a note, which what is committed next has to take away."""
        return self._noted

    def committed(self) -> None:
        """Note that the note went with a commit."""
        self._noted = False

    @contextlib.asynccontextmanager
    async def over(self, name: str, *, a_command: bool) -> AsyncIterator[None]:
        """Note an input for as long as the body has it decided and committed; the note stays when the body fails.

        Raises Poisonous before the body, for a command. What the world says cannot be done without, and hosts may die
        one after the other of something else: it waits instead, longer each time, so that it ends few of them.
        """
        suspect = _digest(name)
        deaths = self._deaths[suspect]
        if deaths >= ON_ONE_INPUT_MAX:
            if a_command:
                raise Poisonous(f"{deaths} deaths at {name}")
            await asyncio.sleep(_wait_s(deaths))
        async with self._suspects if deaths else contextlib.nullcontext():
            await self._write(suspect, deaths)
            yield
            if self._noted:
                await self._write(None, 0)
        self.clear(name)

    async def _left(self) -> delivery.Left:
        while True:
            try:
                return await delivery.left(self._pool, self._held)
            except outcome.Fault:
                await asyncio.sleep(_RETRY_S)

    async def _write(self, suspect: int | None, deaths: int) -> None:
        while True:
            try:
                await delivery.note(self._pool, self._held, suspect, deaths)
            except outcome.Fault:
                await asyncio.sleep(_RETRY_S)
                continue
            self._noted = suspect is not None
            return


def _wait_s(deaths: int) -> float:
    """Return how long an input waits of which so many seem to have died: from a second to five minutes."""
    return min(_WAIT_S * 2.0 ** min(deaths - ON_ONE_INPUT_MAX, _DOUBLINGS_MAX), _WAIT_S_MAX)


def _digest(name: str) -> int:
    """Return 63 bits that stand for an input in the head row."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 1
