"""The meter of loop lag on a real loop: a stall is shown with its length, and only what is new is shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from setpoint import lag

_STALL_S = 0.3


class Shown:
    """What a running meter has shown, and a signal for each time."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._news = asyncio.Event()

    def __call__(self, value: float) -> None:
        self.values.append(value)
        self._news.set()

    async def until_at_least(self, seconds: float) -> None:
        """Wait until the worst lag shown is this much."""
        async with asyncio.timeout(30):
            while not self.values or max(self.values) < seconds:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def shown() -> AsyncIterator[Shown]:
    found = Shown()
    meter = asyncio.create_task(lag.measure(found))
    yield found
    meter.cancel()
    await asyncio.wait({meter})


async def test_a_stall_of_the_loop_is_shown(shown: Shown) -> None:
    await shown.until_at_least(0.0)
    used_s = time.thread_time() + _STALL_S
    while time.thread_time() < used_s:
        pass
    await shown.until_at_least(_STALL_S - 2 * lag.TICK_S)


async def test_the_worst_is_shown_once(shown: Shown) -> None:
    await shown.until_at_least(0.0)
    used_s = time.thread_time() + _STALL_S
    while time.thread_time() < used_s:
        pass
    await shown.until_at_least(_STALL_S - 2 * lag.TICK_S)
    worst = max(shown.values)
    async with asyncio.timeout(30):
        for _ in range(5):
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert shown.values.count(worst) == 1
