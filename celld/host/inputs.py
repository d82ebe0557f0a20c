"""What waits to be told to a cell: facts from the world, commands of the inbox, the timer. One per life of a session.

The owner takes one at a time with ``next``. Facts go first, then commands with the control lane ahead, then the tick.
Every command is handed out once per life; the next life begins with what is still in the inbox.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from celld.host.timers import WakeTimer
from migrations import outcome
from setpoint import runtime
from setpoint.contracts import cell as frames
from setpoint.contracts import limits

ReadInbox = Callable[[tuple[int, int]], Awaitable[list[frames.Delivered]]]

_RETRY_S: Final = 0.2
_TOGETHER_MAX: Final = 16
"""So many inputs are offered for one decision: what a command of the control lane may have to wait for."""


class Overflow(Exception):
    """More has happened than may be queued: the life ends, and the next one asks what became of everything."""


class Quiet:
    """Nothing has come for a while: what ``next`` returns in the place of an input, again and again."""


class Inputs:
    """The queue of one life. ``next`` returns None after ``stop``, and raises what ``break_off`` was given."""

    def __init__(self, read_inbox: ReadInbox, quiet_s: float) -> None:
        self._read, self._quiet_s = read_inbox, quiet_s
        self._facts: deque[frames.Input] = deque()
        self._commands: list[tuple[int, int, frames.Delivered]] = []
        self._known = (0, 0)
        self._look = True
        self._ticks = False
        self._stopped = False
        self._broken: Exception | None = None
        self._changed = asyncio.Event()
        self.timer = WakeTimer(self._tick)

    def push(self, fact: frames.Input) -> None:
        """Queue what has happened; too much of it breaks the life off."""
        if len(self._facts) >= limits.SESSION_INPUTS_MAX:
            self.break_off(Overflow(f"{len(self._facts)} inputs wait"))
            return
        self._facts.append(fact)
        self._changed.set()

    def look(self) -> None:
        """Read the inbox before the next command is handed out."""
        self._look = True
        self._changed.set()

    def again(self, *inputs: frames.Input) -> None:
        """Put inputs back at the front, in this order."""
        self._facts.extendleft(reversed(inputs))
        self._changed.set()

    def stop(self) -> None:
        """Hand nothing out any more."""
        self._stopped = True
        self._changed.set()

    def break_off(self, error: Exception) -> None:
        """Make ``next`` raise: the cell is gone, or cannot go on."""
        self._broken = self._broken or error
        self._changed.set()

    def close(self) -> None:
        """Stop the timer."""
        self.timer.disarm()

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits, as far as is known here."""
        waits = self._facts or self._commands or self._look or self._ticks
        return not waits and not self._stopped and self._broken is None

    async def next(self) -> frames.Input | Quiet | None:
        """Wait for the next input; after ``quiet_s`` without any say so."""
        while True:
            self._changed.clear()
            if self._broken is not None:
                raise self._broken
            if self._stopped:
                return None
            if self._facts:
                return self._facts.popleft()
            if self._look:
                await self._read_more()
            elif self._commands:
                return heapq.heappop(self._commands)[2]
            elif self._ticks:
                self._ticks = False
                if self.timer.is_due():
                    return frames.Tick()
                self.timer.arm(self.timer.wake_at)
            elif not await self._changes():
                return Quiet()

    def behind(self, first: frames.Input) -> tuple[frames.Input, ...]:
        """Take out what waits behind an input that was just handed out and may be decided on together with it.

        What is not decided on goes back by ``again``.
        """
        found = [first]
        while len(found) < _TOGETHER_MAX and _is_plain(found[-1]) and not self._stopped and self._broken is None:
            if self._facts and _is_plain(self._facts[0]):
                found.append(self._facts.popleft())
            elif not self._facts and not self._look and self._commands and _is_plain(self._commands[0][2]):
                found.append(heapq.heappop(self._commands)[2])
            else:
                break
        return tuple(found[1:])

    async def _changes(self) -> bool:
        """Wait for something to be handed out; False when nothing came."""
        try:
            async with asyncio.timeout(self._quiet_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _tick(self) -> None:
        self._ticks = True
        self._changed.set()

    async def _read_more(self) -> None:
        self._look = False
        try:
            rows = await self._read(self._known)
        except outcome.Fault as error:
            runtime.log().warning("inbox not read", why=str(error)[:200])
            self._look = True
            await asyncio.sleep(_RETRY_S)
            return
        for row in rows:
            heapq.heappush(self._commands, (row.lane, row.inbox_seq, row))
            control, work = self._known
            self._known = (
                max(control, row.inbox_seq) if row.lane == limits.LANE_CONTROL else control,
                max(work, row.inbox_seq) if row.lane == limits.LANE_WORK else work,
            )
        self._look = self._look or len(rows) >= limits.INBOX_READ_MAX


def _is_plain(one: frames.Input) -> bool:
    """Tell whether an input may share a decision. An apply brings content along, and is large."""
    if isinstance(one, frames.Delivered):
        return one.type != "apply"
    return isinstance(one, frames.StepEnded | frames.RunEnded)
