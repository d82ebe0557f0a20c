"""Streams get their first page a few at a time, and none waits for its turn without end."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.edge import _OPENING_MAX, Streams


async def test_whoever_is_one_too_many_goes_when_a_turn_is_free_or_without_one_after_a_while() -> None:
    streams = Streams(most=10, each=10)
    async with asyncio.timeout(10.0):
        async with contextlib.AsyncExitStack() as held:
            for _ in range(_OPENING_MAX):
                await held.enter_async_context(streams.opening())
            late = asyncio.create_task(streams.opening().__aenter__())
            await asyncio.sleep(0)
            assert not late.done(), "it stands in line"
            await late
        for _ in range(3):  # the one without a turn gives none back, and none is lost
            async with contextlib.AsyncExitStack() as again:
                for _ in range(_OPENING_MAX):
                    await again.enter_async_context(streams.opening())
                assert streams._opening.locked()
