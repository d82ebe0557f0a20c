"""How late an event loop wakes up by its own doing: what ``setpoint_loop_lag_seconds`` shows.

Every daemon runs ``measure``. A loop that stalls (a long computation, a blocking call, a held interpreter lock) answers
nobody meanwhile, neither a health probe nor a lease renewal. The time in which the machine had no core for the thread
is not its doing and is taken off, so that the figure means the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

TICK_S: Final = 0.02
WINDOW_S: Final = 10.0
_LINE_BYTES_MAX: Final = 256


class Queued:
    """How long the calling thread has waited for a core. Make it on that thread; close it there.

    The file is kept open: to open it fifty times a second cost an idle daemon more than all the rest it does.
    """

    def __init__(self) -> None:
        try:
            self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def seconds(self) -> float:
        """Return the seconds so far; 0 where the kernel does not say."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, _LINE_BYTES_MAX, 0).split()[1]) / 1e9

    def close(self) -> None:
        """Let the file go. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Meter:
    """The ticks of one loop: bare timers, because a task that sleeps costs several times as much."""

    def __init__(self, show: Callable[[float], object]) -> None:
        self._loop, self._show, self._queued = asyncio.get_running_loop(), show, Queued()
        self._worst: deque[tuple[float, float]] = deque()
        self._shown_s = -1.0
        self._before_s, self._before_queued_s = time.monotonic(), self._queued.seconds()
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        self._timer.cancel()
        self._queued.close()

    def _tick(self) -> None:
        after_s, after_queued_s = time.monotonic(), self._queued.seconds()
        lag_s = max(0.0, after_s - self._before_s - TICK_S - (after_queued_s - self._before_queued_s))
        self._before_s, self._before_queued_s = after_s, after_queued_s
        self._timer = self._loop.call_later(TICK_S, self._tick)
        worst = self._worst  # newest last, and each worse than all after it
        while worst and worst[-1][1] <= lag_s:
            worst.pop()
        worst.append((after_s, lag_s))
        while worst[0][0] <= after_s - WINDOW_S:
            worst.popleft()
        if worst[0][1] != self._shown_s:
            self._shown_s = worst[0][1]
            self._show(self._shown_s)


async def measure(show: Callable[[float], object]) -> None:
    """Hand the worst lag of the last WINDOW_S seconds to ``show``, whenever it is another, until cancelled."""
    meter = _Meter(show)
    try:
        await asyncio.Event().wait()
    finally:
        meter.stop()
