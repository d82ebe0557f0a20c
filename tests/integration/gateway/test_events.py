"""The log over HTTP: pages, and streams that resume anywhere without a gap or a repeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.integration.gateway.owner import own
from tests.integration.gateway.served import WAIT_S, Served, problem
from tests.integration.protocol.world import World


@contextlib.asynccontextmanager
async def stream(
    api: httpx.AsyncClient, session: str, headers: dict[str, str] | None = None, **query: Any
) -> AsyncIterator[AsyncIterator[httpx_sse.ServerSentEvent]]:
    path = f"/v1/sessions/{session}/events"
    async with (
        asyncio.timeout(WAIT_S),
        httpx_sse.aconnect_sse(api, "GET", path, params=query, headers=headers or {}) as source,
    ):
        assert source.response.status_code == 200, await source.response.aread()
        iterator = source.aiter_sse()
        try:
            yield iterator
        finally:
            await iterator.aclose()


async def seqs(source: AsyncIterator[httpx_sse.ServerSentEvent], count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        message = await anext(source)
        assert int(message.id) == message.json()["seq"]
        assert message.event == message.json()["type"]
        found.append(int(message.id))
    return found


async def test_pages_join_without_gap_or_repeat(api: httpx.AsyncClient, w: World, served: Served, session: str) -> None:
    owner = await own(w, served.ours, session)
    head = await owner.numbers(25)
    found: list[int] = []
    after: Any = 0
    while after is not None:
        page = (await api.get(f"/v1/sessions/{session}/events", params={"after": after, "limit": 7})).json()
        assert len(page["items"]) <= 7
        assert page["head_seq"] == head
        found += [event["seq"] for event in page["items"]]
        after = page["next"]
    assert found == list(range(1, head + 1))
    event = (await api.get(f"/v1/sessions/{session}/events", params={"after": 2, "limit": 1})).json()["items"][0]
    assert event == {
        "seq": 3,
        "type": "asset.ready",
        "v": 1,
        "at": "2026-11-21T10:25:54.123456Z",
        "session_id": session,
        "epoch": event["epoch"],
        "data": {"n": 0},
    }


async def test_a_page_is_bounded_in_bytes_too(api: httpx.AsyncClient, w: World, served: Served, session: str) -> None:
    owner = await own(w, served.ours, session)
    for _ in range(3):
        await owner.write(*({"type": "asset.ready", "data": {"x": "y" * 30_000}} for _ in range(20)))
    page = await api.get(f"/v1/sessions/{session}/events", params={"limit": 500})
    assert len(page.content) < 1_200_000
    assert page.json()["next"] is not None
    async with stream(api, session) as source:
        assert await seqs(source, 62) == list(range(1, 63))


async def test_a_stream_goes_on_as_the_log_grows_and_resumes_after_any_seq(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)
    async with stream(api, session) as source:
        assert await seqs(source, 2) == [1, 2]
        await owner.numbers(3)
        assert await seqs(source, 3) == [3, 4, 5]
    await owner.numbers(3)
    async with stream(api, session, {"Last-Event-ID": "5"}) as source:
        assert await seqs(source, 3) == [6, 7, 8]
    async with stream(api, session, {"Last-Event-ID": "6"}, after=3) as source:
        assert await seqs(source, 2) == [7, 8]
    async with stream(api, session, {"Last-Event-ID": "3"}, after=7) as source:
        assert await seqs(source, 1) == [8]


async def test_a_long_log_is_streamed_in_order(api: httpx.AsyncClient, w: World, served: Served, session: str) -> None:
    owner = await own(w, served.ours, session)
    for part in range(6):
        await owner.numbers(300, part * 300)
    async with stream(api, session) as source:
        assert await seqs(source, 1802) == list(range(1, 1803))


async def test_many_followers_all_see_every_event(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)

    async def follow() -> list[int]:
        async with stream(api, session) as source:
            return await seqs(source, 42)

    async with asyncio.TaskGroup() as tasks:
        followers = [tasks.create_task(follow()) for _ in range(20)]
        for part in range(4):
            await owner.numbers(10, part * 10)
    assert all(follower.result() == list(range(1, 43)) for follower in followers)


async def test_a_cursor_ahead_of_the_log_is_reset(api: httpx.AsyncClient, session: str) -> None:
    async with stream(api, session, {"Last-Event-ID": "1000"}) as source:
        message = await anext(source)
        assert (message.event, message.id) == ("reset", "")
        assert message.json() == {"reason": "cursor_ahead", "head_seq": 1, "after": 0}
        assert await seqs(source, 1) == [1]


async def test_the_stream_of_a_closed_session_ends_by_itself(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)
    async with stream(api, session, after=1) as source:
        assert await seqs(source, 1) == [2]
        await owner.close()
        assert (await anext(source)).event == "session.closed"
        assert (await anext(source)).event == "end"
        with pytest.raises(StopAsyncIteration):
            await anext(source)


async def test_what_a_stream_says_to_proxies(api: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/events"
    async with api.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache, no-transform"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert (await anext(answer.aiter_lines())).startswith("retry: ")


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "1e3", "9" * 30, "٣", "0x10", "1;DROP"])
async def test_a_garbage_cursor_is_refused_not_ignored(api: httpx.AsyncClient, session: str, cursor: str) -> None:
    path = f"/v1/sessions/{session}/events"
    for accept in ("application/json", "text/event-stream"):
        headers = [(b"Accept", accept.encode()), (b"Last-Event-ID", cursor.encode())]
        problem(await api.get(path, headers=headers), 400, "invalid-request")
        answer = await api.get(path, params={"after": cursor}, headers={"Accept": accept})
        problem(answer, 400, "invalid-request")
