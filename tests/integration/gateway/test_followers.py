"""The client that follows by itself: what it makes of a log that went back, and of what it must not try again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from setpoint.client.api import Client
from setpoint.client.sse import follow, follow_several
from setpoint.contracts.problem import Problem
from tests.integration.gateway.owner import own
from tests.integration.gateway.served import Served
from tests.integration.protocol.world import World


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, served.ours.key) as opened:
        yield opened


async def first(count: int, source: Iterator[dict[str, Any]]) -> list[tuple[str, int]]:
    """Return the first events as (session, seq)."""
    found = await asyncio.to_thread(lambda: list(islice(source, count)))
    return [(event["session_id"], event["seq"]) for event in found]


async def test_a_log_that_went_back_is_noted_and_comes_again(
    client: Client, w: World, served: Served, session: str
) -> None:
    await (await own(w, served.ours, session)).numbers(2)
    noted: list[str] = []
    assert await first(4, follow(client, session, 1000, note=noted.append)) == [(session, seq) for seq in (1, 2, 3, 4)]
    assert noted == ["the log has become shorter: it comes again from its start"]


async def test_of_several_sessions_only_the_one_that_went_back_comes_again(
    api: httpx.AsyncClient, client: Client, w: World, served: Served, session: str
) -> None:
    other = str((await api.post("/v1/sessions", json={})).json()["id"])
    await (await own(w, served.ours, other)).numbers(2)
    noted: list[str] = []
    source = follow_several(client, {session: 1000, other: 2}, note=noted.append)
    assert sorted(await first(3, source)) == sorted([(session, 1), (other, 3), (other, 4)])
    assert noted == [f"the log of {session} has become shorter: it comes again from its start"]


async def test_a_closed_session_ends_it(client: Client, w: World, served: Served, session: str) -> None:
    await (await own(w, served.ours, session)).close()
    assert await first(100, follow(client, session, 0)) == [(session, seq) for seq in (1, 2, 3)]
    assert await first(100, follow_several(client, {session: 2})) == [(session, 3)]


async def test_what_will_not_change_is_raised_at_once(client: Client, session: str) -> None:
    for source in (follow(client, "nowhere", 0), follow_several(client, {session: 0, "nowhere": 0})):
        with pytest.raises(Problem, match="nowhere") as refused:
            await first(1, source)
        assert refused.value.code == "not-found"
