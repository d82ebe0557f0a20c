"""What waits to be told to a cell, as ``celld.host.inputs`` has it: facts first, then commands, then the tick.

One per life of a session. Made by ``life``.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final

from celld.host.inputs import _TOGETHER_MAX, _is_plain
from celld.plane.key import Held
from migrations.outcome import Fault
from setpoint.contracts import cell as frames
from setpoint.contracts import limits
from tests.sim.kernel import Future, TimedOut, Work
from tests.sim.postgres import commands

if TYPE_CHECKING:
    from tests.sim.host import CellHost

_RETRY_S: Final = 0.2


class Quiet:
    """Nothing has come for a while."""


class Inputs:
    """What waits to be told to a cell (``celld.host.inputs``): facts first, then commands, then the tick."""

    def __init__(self, host: CellHost, held: Held) -> None:
        self._host, self._held = host, held
        self._facts: deque[frames.Input] = deque()
        self._commands: list[tuple[int, int, frames.Delivered]] = []
        self._known = (0, 0)
        self._look = True
        self._stopped = False
        self._broken: Exception | None = None
        self._changed = Future()
        self._wake_at: int | None = None
        self._armed = 0

    def push(self, fact: frames.Input) -> None:
        """Queue what has happened."""
        self._facts.append(fact)
        self._changed.give()

    def again(self, *inputs: frames.Input) -> None:
        """Put inputs back at the front, in this order."""
        self._facts.extendleft(reversed(inputs))
        self._changed.give()

    def look(self) -> None:
        """Read the inbox before the next command is handed out."""
        self._look = True
        self._changed.give()

    def stop(self) -> None:
        """Hand nothing out any more."""
        self._stopped = True
        self._changed.give()

    def break_off(self, error: Exception) -> None:
        """Make ``next`` raise."""
        self._broken = self._broken or error
        self._changed.give()

    def arm(self, wake_at: int | None) -> None:
        """Tick at an instant of the host's wall clock, and no more at any former one."""
        self._armed += 1
        self._wake_at = wake_at
        if wake_at is None:
            return
        armed = self._armed
        self._host.kernel.at(wake_at - self._host.offset_us, lambda: self._host.scope.post(lambda: self._tick(armed)))

    @property
    def wake_at(self) -> int | None:
        """Return the instant that is waited for."""
        return self._wake_at

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits, as far as is known here."""
        due = self._wake_at is not None and self._wake_at <= self._host.wall_us()
        return not (self._facts or self._commands or self._look or due or self._stopped) and self._broken is None

    def _tick(self, armed: int) -> None:
        if armed == self._armed:
            self._changed.give()

    def next(self) -> Work:
        """Wait for the next input; None after ``stop``; Quiet when nothing comes for a while and sessions sleep."""
        while True:
            self._changed = Future()
            if self._broken is not None:
                raise self._broken
            if self._stopped:
                return None
            if self._facts:
                return self._facts.popleft()
            if self._look:
                yield from self._read_more()
            elif self._commands:
                return heapq.heappop(self._commands)[2]
            elif self._wake_at is not None and self._wake_at <= self._host.wall_us():
                self._wake_at = None
                return frames.Tick()
            elif self._host.rooms.quiet_s is None:
                yield self._changed
            else:
                try:
                    yield self._host.scope.within(self._changed, self._host.rooms.quiet_s)
                except TimedOut:
                    return Quiet()

    def behind(self, first: frames.Input) -> tuple[frames.Input, ...]:
        """Take out what may be decided on together with an input that was just handed out."""
        found = [first]
        while len(found) < _TOGETHER_MAX and _is_plain(found[-1]) and not self._stopped and self._broken is None:
            if self._facts and _is_plain(self._facts[0]):
                found.append(self._facts.popleft())
            elif not self._facts and not self._look and self._commands and _is_plain(self._commands[0][2]):
                found.append(heapq.heappop(self._commands)[2])
            else:
                break
        return tuple(found[1:])

    def _read_more(self) -> Work:
        self._look = False
        key = self._held.key
        try:
            rows = yield self._host.ask(commands.inbox, key.tenant, key.session, *self._known, limits.INBOX_READ_MAX)
        except Fault:
            self._look = True
            yield _RETRY_S
            return
        for row in rows:
            given = frames.Delivered(row.command_id, row.lane, row.inbox_seq, row.type, row.payload)
            heapq.heappush(self._commands, (row.lane, row.inbox_seq, given))
            known = list(self._known)
            known[row.lane] = max(known[row.lane], row.inbox_seq)
            self._known = (known[0], known[1])
        self._look = self._look or len(rows) >= limits.INBOX_READ_MAX
