"""What a crowd of readers costs the database: one read of a page, and one look-up of a key, however many ask."""

from __future__ import annotations

import asyncio

import pytest

from gateway.joined import Joined
from gateway.pages import SharedPages
from gateway.store.events import Page
from gateway.watcher import Watcher
from setpoint.contracts.event import Event
from setpoint.contracts.problem import Problem


class Log:
    """A log that grows, read as the database is read; counts how often."""

    def __init__(self) -> None:
        self.head, self.reads = 1, 0

    async def page(self, tenant_id: str, session_id: str, after: int, limit: int, bytes_max: int) -> Page:
        self.reads += 1
        head = self.head
        await asyncio.sleep(0)
        events = [Event(seq, "asset.ready", 0, session_id, (1, 1), {}) for seq in range(after + 1, head + 1)]
        return Page(tuple(events), head, "active")


async def test_those_who_ask_together_and_those_who_come_a_moment_later_share_a_read() -> None:
    log = Log()
    pages = SharedPages(log.page)
    blocks = await asyncio.gather(*(pages.after("t", "s", 0) for _ in range(100)))
    assert {block.last_seq for block in blocks} == {1}
    assert (await pages.after("t", "s", 0, known_seq=1)).content == blocks[0].content
    assert log.reads == 1
    assert (await pages.after("t", "s", 0, is_one_of_several=True)).content.startswith(b"id: s:1\n")
    assert log.reads == 2


async def test_who_knows_of_more_gets_it_and_an_end_is_never_kept() -> None:
    log = Log()
    pages = SharedPages(log.page)
    assert (await pages.after("t", "s", 0)).last_seq == 1
    assert (await pages.after("t", "s", 1)).count == 0
    log.head = 3
    assert (await pages.after("t", "s", 1)).last_seq == 3
    assert (await pages.after("t", "s", 0, known_seq=3)).last_seq == 3


async def test_what_fails_fails_for_all_who_asked_and_is_asked_for_again() -> None:
    joined: Joined[str, int] = Joined()

    async def away() -> int:
        await asyncio.sleep(0)
        raise Problem("unavailable", "away")

    async def there() -> int:
        return 7

    found = await asyncio.gather(*(joined.read("k", away) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [Problem] * 3
    assert await joined.read("k", there) == 7


async def test_one_who_goes_away_leaves_the_answer_to_the_others() -> None:
    joined: Joined[str, int] = Joined()
    gate = asyncio.Event()

    async def slow() -> int:
        await gate.wait()
        return 7

    first, second = (asyncio.create_task(joined.read("k", slow)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()
    assert await second == 7


async def test_all_followers_of_a_session_wake_a_few_at_a_time_and_none_is_forgotten() -> None:
    async def nothing(pairs: object) -> list[tuple[str, str, int]]:
        return []

    watcher, awake = Watcher(nothing), 0

    async def follow() -> None:
        nonlocal awake
        with watcher.follow("t", ["s"]) as view:
            await view.until_moved({"s": 0}, 20.0)
            assert view.moved({"s": 0}) == ["s"]
            awake += 1

    followers = [asyncio.create_task(follow()) for _ in range(500)]
    await asyncio.sleep(0)
    watcher.note([("t", "s", 1)])
    await asyncio.sleep(0)
    assert 0 < awake < 500
    await asyncio.gather(*followers)
    assert awake == 500
