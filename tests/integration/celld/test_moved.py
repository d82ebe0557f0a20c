"""When gateways are told that a log has grown: at once after a pause, else together with what moves meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from celld.host.links import Gateways
from celld.plane.key import SessionKey
from setpoint.contracts.hint import Moved

ONE, OTHER = SessionKey("t", "one"), SessionKey("t", "other")


class Told:
    """The frames that one gateway was sent."""

    def __init__(self) -> None:
        self.frames: list[object] = []
        self._news = asyncio.Event()

    def send(self, frame: object) -> bool:
        self.frames.append(frame)
        self._news.set()
        return True

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.frames) < count:
                self._news.clear()
                await self._news.wait()


async def test_the_first_head_is_told_at_once_and_what_follows_in_one_frame() -> None:
    told, gateways = Told(), Gateways()
    gateways.add(cast(Any, told))
    gateways.moved(ONE, 1)
    assert told.frames == [Moved((("t", "one", 1),))], "a reader waits for it"
    for key, seq in ((ONE, 2), (OTHER, 7), (ONE, 3)):
        gateways.moved(key, seq)
    assert len(told.frames) == 1
    await told.until(2)
    assert told.frames[1] == Moved((("t", "one", 3), ("t", "other", 7)))
    gateways.moved(OTHER, 8)
    await told.until(3)
    assert told.frames[2] == Moved((("t", "other", 8),))


async def test_nobody_is_told_when_nobody_listens() -> None:
    told, gateways = Told(), Gateways()
    gateways.moved(ONE, 1)
    gateways.add(cast(Any, told))
    gateways.moved(ONE, 2)
    assert told.frames == [Moved((("t", "one", 2),))]
