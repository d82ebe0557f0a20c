"""How late an event loop wakes up by its own doing: what ``setpoint_loop_lag_seconds`` shows.

Every daemon runs ``measure``. A loop that stalls (a long computation, a blocking call, a held interpreter lock) answers
nobody meanwhile, neither a health probe nor a lease renewal. The time in which the machine had no core for the thread
is not its doing and is taken off, so that the figure means the same on a busy machine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

TICK_S: Final = 0.02
WINDOW_S: Final = 10.0


def queued_s() -> float:
    """Return how long the calling thread has waited for a core so far; 0 where the kernel does not say."""
    try:
        fields = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) / 1e9


async def measure(show: Callable[[float], object]) -> None:
    """Hand the worst lag of the last WINDOW_S seconds to ``show``, every tick, until cancelled."""
    worst: list[tuple[float, float]] = []
    while True:
        before_s, before_queued_s = time.monotonic(), queued_s()
        await asyncio.sleep(TICK_S)
        after_s = time.monotonic()
        lag_s = max(0.0, after_s - before_s - TICK_S - (queued_s() - before_queued_s))
        worst = [(at_s, value) for at_s, value in worst if at_s > after_s - WINDOW_S and value > lag_s]
        worst.append((after_s, lag_s))
        show(worst[0][1])
