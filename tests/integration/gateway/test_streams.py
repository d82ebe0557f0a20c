"""Several sessions on one stream; slow clients, dead gateways, keys that were revoked, logs that went back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from setpoint.contracts.limits import SSE_SESSIONS_MAX
from tests.integration.gateway.owner import own
from tests.integration.gateway.served import WAIT_S, Gateway, Served, Tenant, new_tenant, problem
from tests.integration.gateway.test_events import seqs, stream
from tests.integration.protocol.world import World, world

PATH = "/v1/events"


@contextlib.asynccontextmanager
async def several(
    api: httpx.AsyncClient, sessions: list[str], after: str = "", last: str = ""
) -> AsyncIterator[AsyncIterator[httpx_sse.ServerSentEvent]]:
    query = [("session", session) for session in sessions] + ([("after", after)] if after else [])
    headers = {"Last-Event-ID": last} if last else {}
    async with (
        asyncio.timeout(WAIT_S),
        httpx_sse.aconnect_sse(api, "GET", PATH, params=query, headers=headers) as source,
    ):
        assert source.response.status_code == 200, await source.response.aread()
        iterator = source.aiter_sse()
        try:
            yield iterator
        finally:
            await iterator.aclose()


async def until_resume(source: AsyncIterator[httpx_sse.ServerSentEvent], last: str) -> list[tuple[str, int]]:
    """Read up to the token that names these places; return what came on the way as (session, seq)."""
    found: list[tuple[str, int]] = []
    async for message in source:
        if message.event == "resume":
            if set(message.id.split(",")) == set(last.split(",")):
                return found
            continue
        session, seq = message.id.split(":")
        assert (session, int(seq)) == (message.json()["session_id"], message.json()["seq"])
        assert message.event == message.json()["type"]
        found.append((session, int(seq)))
    raise AssertionError(f"the stream ended before {last}; it said {found}")


@pytest.fixture
async def pair(api: httpx.AsyncClient) -> list[str]:
    return [str((await api.post("/v1/sessions", json={})).json()["id"]) for _ in range(2)]


async def test_several_sessions_come_on_one_connection_and_one_id_resumes_all(
    api: httpx.AsyncClient, w: World, served: Served, pair: list[str]
) -> None:
    a, b = pair
    first, second = await own(w, served.ours, a), await own(w, served.ours, b)
    async with several(api, pair) as source:
        found = await until_resume(source, f"{a}:2,{b}:2")
        assert sorted(found) == sorted([(a, 1), (a, 2), (b, 1), (b, 2)])
        await first.numbers(3)
        assert await until_resume(source, f"{a}:5,{b}:2") == [(a, 3), (a, 4), (a, 5)]
        await second.numbers(1)
        token = f"{b}:3,{a}:5"
        assert await until_resume(source, token) == [(b, 3)]
    await second.numbers(2)
    await first.numbers(1)
    async with several(api, pair, last=token) as source:
        assert sorted(await until_resume(source, f"{a}:6,{b}:5")) == sorted([(a, 6), (b, 4), (b, 5)])


async def test_the_id_of_an_event_resumes_its_session_and_repeats_the_others(
    api: httpx.AsyncClient, w: World, served: Served, pair: list[str]
) -> None:
    a, b = pair
    owner = await own(w, served.ours, a)
    await owner.numbers(3)
    async with several(api, pair, last=f"{a}:4") as source:
        assert sorted(await until_resume(source, f"{a}:5,{b}:1")) == sorted([(a, 5), (b, 1)])
    async with several(api, pair, last=f"{a}:4", after=f"{b}:1,{a}:2") as source:
        assert await until_resume(source, f"{a}:5,{b}:1") == [(a, 5)]


async def test_names_mean_sessions_and_a_session_named_twice_comes_once(
    api: httpx.AsyncClient, w: World, served: Served
) -> None:
    session = (await api.post("/v1/sessions", json={"name": "by-name"})).json()["id"]
    async with several(api, ["by-name", session, "by-name"], after="by-name:0") as source:
        assert await until_resume(source, f"{session}:1") == [(session, 1)]


async def test_a_long_log_does_not_hold_up_the_others(
    api: httpx.AsyncClient, w: World, served: Served, pair: list[str]
) -> None:
    a, b = pair
    owner = await own(w, served.ours, a)
    for part in range(5):
        await owner.numbers(300, part * 300)
    async with several(api, pair) as source:
        found = await until_resume(source, f"{a}:1502,{b}:1")
    assert [seq for session, seq in found if session == a] == list(range(1, 1503))
    assert found.index((b, 1)) < 500


async def test_each_session_is_reset_by_itself(api: httpx.AsyncClient, pair: list[str]) -> None:
    a, b = pair
    async with several(api, pair, last=f"{a}:1000,{b}:1") as source:
        message = await anext(source)
        assert message.event == "reset"
        assert message.json() == {"reason": "cursor_ahead", "head_seq": 1, "after": 0, "session_id": a}
        assert await until_resume(source, f"{a}:1,{b}:1") == [(a, 1)]


async def test_the_stream_ends_when_all_its_sessions_are_closed(
    api: httpx.AsyncClient, w: World, served: Served, pair: list[str]
) -> None:
    a, b = pair
    first, second = await own(w, served.ours, a), await own(w, served.ours, b)
    async with several(api, pair) as source:
        await until_resume(source, f"{a}:2,{b}:2")
        await first.close()
        assert await until_resume(source, f"{a}:3,{b}:2") == [(a, 3)]
        await second.numbers(1)
        assert await until_resume(source, f"{a}:3,{b}:3") == [(b, 3)]
        await second.close()
        assert await until_resume(source, f"{a}:3,{b}:4") == [(b, 4)]
        assert (await anext(source)).event == "end"
        with pytest.raises(StopAsyncIteration):
            await anext(source)


async def test_bad_questions_are_refused_before_anything_is_sent(
    api: httpx.AsyncClient, other: httpx.AsyncClient, pair: list[str]
) -> None:
    a, b = pair
    problem(await api.get(PATH), 400, "invalid-request")
    many = "&".join(f"session=s{n}" for n in range(SSE_SESSIONS_MAX + 1))
    problem(await api.get(f"{PATH}?{many}"), 400, "invalid-request")
    problem(await api.get(PATH, params=[("session", a), ("session", "nowhere")]), 404, "not-found")
    problem(await other.get(PATH, params=[("session", a)]), 404, "not-found")
    for cursor in ("x", f"{a}", f"{a}:", f"{a}:-1", f"{a}:1.5", f"{a}:1,,", "5", f"{a}:1;{b}:2", f"other:5,{a}:1", ","):
        for answer in (
            await api.get(PATH, params=[("session", a), ("session", b)], headers={"Last-Event-ID": cursor}),
            await api.get(PATH, params=[("session", a), ("session", b), ("after", cursor)]),
        ):
            problem(answer, 400, "invalid-request")


async def test_as_many_sessions_as_may_be_resume_by_their_token(api: httpx.AsyncClient) -> None:
    made = await asyncio.gather(*(api.post("/v1/sessions", json={}) for _ in range(SSE_SESSIONS_MAX)))
    sessions = [str(answer.json()["id"]) for answer in made]
    async with several(api, sessions) as source:
        token = ",".join(f"{session}:1" for session in sessions)
        assert len(await until_resume(source, token)) == SSE_SESSIONS_MAX
    async with several(api, sessions, last=token.replace(f"{sessions[7]}:1", f"{sessions[7]}:0")) as source:
        assert await until_resume(source, token) == [(sessions[7], 1)]


async def test_a_stream_goes_on_at_another_gateway_when_its_own_is_killed(database: Any, tmp_path: Path) -> None:
    tenant = await new_tenant(database.dsn("setpoint_migrate"), "ours")
    dsn = database.dsn("setpoint_gateway")
    first, second = Gateway(tmp_path / "1", dsn), Gateway(tmp_path / "2", dsn)
    try:
        async with world(database) as w, _client(first, tenant) as api, _client(second, tenant) as again:
            pair = [str((await api.post("/v1/sessions", json={})).json()["id"]) for _ in range(2)]
            owners = [await own(w, tenant, session) for session in pair]
            last = ",".join(f"{session}:2" for session in pair)
            async with several(api, pair) as source:
                await until_resume(source, last)
                first.process.kill()
                with pytest.raises(httpx.HTTPError):
                    await until_resume(source, "never")
            for owner in owners:
                await owner.numbers(2)
            async with several(again, pair, last=last) as source:
                token = ",".join(f"{session}:4" for session in pair)
                found = await until_resume(source, token)
            assert sorted(found) == sorted((session, seq) for session in pair for seq in (3, 4))
    finally:
        for gateway in (first, second):
            await asyncio.to_thread(gateway.stop)


def _client(gateway: Gateway, tenant: Tenant) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {tenant.key}"}
    url = f"http://127.0.0.1:{gateway.port()}"
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False)


async def test_a_client_that_does_not_read_is_cut_off_and_others_are_not_held_up(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)
    for _ in range(2):
        await owner.write(*({"type": "asset.ready", "data": {"x": "y" * 30_000}} for _ in range(20)))
    before = await cut(served)
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
        head = f"GET /v1/sessions/{session}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.ours.key}\r\n"
        idle.sendall(f"{head}Accept: text/event-stream\r\n\r\n".encode())
        async with stream(api, session) as source:
            assert await seqs(source, 42) == list(range(1, 43))

        async def is_cut() -> bool:
            return await cut(served) == before + 1

        async with asyncio.timeout(WAIT_S * 2):
            while not await is_cut():
                await owner.numbers(1)
        idle.settimeout(WAIT_S)
        with pytest.raises(ConnectionResetError):
            drain(idle)


def drain(connection: socket.socket) -> None:
    """Read until the other end says that it has ended."""
    while connection.recv(1 << 20):
        pass


async def cut(served: Served) -> int:
    """Return how many streams were ended because their client did not read."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as anybody:
        text = (await anybody.get("/metrics")).text
    name = "setpoint_gateway_streams_cut_total "
    return int(float(next(line for line in text.splitlines() if line.startswith(name)).split()[1]))


async def test_a_stream_that_is_never_silent_ends_with_its_key(w: World, served: Served) -> None:
    tenant = await new_tenant(served.database.dsn("setpoint_migrate"), "leaver")
    async with served.client(tenant) as api:
        session = str((await api.post("/v1/sessions", json={})).json()["id"])
        owner = await own(w, tenant, session)
        async with stream(api, session) as source:
            await seqs(source, 2)
            await w.all_seeing.execute(
                "UPDATE setpoint.api_keys SET revoked_at = now() WHERE tenant_id = $1", tenant.id
            )
            await owner.numbers(1)
            async for _ in source:  # until it ends, within the bound of the stream
                await owner.numbers(1)


async def test_a_log_that_went_back_is_told_on_an_open_stream(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    owner = await own(w, served.ours, session)
    await owner.numbers(5)
    async with stream(api, session) as source:
        assert await seqs(source, 7) == list(range(1, 8))
        await w.all_seeing.execute("DELETE FROM setpoint.events WHERE session_id = $1 AND seq > 4", session)
        await w.all_seeing.execute("UPDATE setpoint.session_heads SET head_seq = 4 WHERE session_id = $1", session)
        message = await anext(source)
        assert (message.event, message.json()["head_seq"]) == ("reset", 4)
        assert await seqs(source, 4) == [1, 2, 3, 4]
