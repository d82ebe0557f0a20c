"""Clients that try to hold on to the gateway, or to take it from other tenants: each gets its part and no more."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from gateway.edge import Shares, Streams
from setpoint.contracts.limits import COSTLY_PER_TENANT_MAX, MIB, SSE_CLIENTS_PER_TENANT_MAX
from setpoint.contracts.problem import Problem
from tests.integration.gateway.served import Served, problem, soon
from tests.integration.gateway.test_bad_input import raw

STREAM = {"Accept": "text/event-stream"}


@pytest.mark.parametrize("path", ["/healthz", "/v1/sessions", "/nowhere"])
@pytest.mark.parametrize("expectation", ["\xff\xfe\xed\xa0\x80", "200-ok", "100-continue, \xff", "\xff" * 4000])
async def test_an_odd_expectation_is_no_mistake_of_ours(served: Served, path: str, expectation: str) -> None:
    before = len(served.gateway.log)
    answer = raw(served, f"GET {path} HTTP/1.1\r\nHost: x\r\nExpect: {expectation}\r\nConnection: close\r\n\r\n")
    assert answer.startswith(("HTTP/1.1 200 ", "HTTP/1.1 401 ")), answer
    assert "Traceback" not in "".join(served.gateway.log[before:])


async def test_what_the_parser_refuses_leaves_no_trace_in_the_log(api: httpx.AsyncClient, served: Served) -> None:
    before = len(served.gateway.log)
    for line in ("GET * HTTP/1.1", "GET /\xff HTTP/1.1", "GET / HTTP/9.9", "nonsense", "GET http://[::1 HTTP/1.1"):
        assert raw(served, f"{line}\r\nHost: x\r\nA\0B: c\r\n\r\n").startswith(("HTTP/1.1 400 ", "HTTP/1.0 400 "))
    assert (await api.get("/healthz")).status_code == 200
    assert served.gateway.log[before:] == []


async def test_100_continue_still_works(served: Served) -> None:
    answer = raw(
        served,
        f"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.ours.key}\r\nExpect: 100-continue\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    )
    assert answer.startswith("HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("header", ["Content-Type", "If-None-Match", "Accept", "Range", "Cookie", "Content-Encoding"])
async def test_a_header_of_wild_bytes_is_answered(served: Served, session: str, header: str) -> None:
    for method, path in (("GET", f"/v1/sessions/{session}"), ("POST", f"/v1/sessions/{session}/commands")):
        answer = raw(
            served,
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.ours.key}\r\nContent-Length: 2\r\n"
            f"{header}: \xff\xfe\xed\xa0\x80; charset=\xff\r\nConnection: close\r\n\r\n{{}}",
        )
        assert answer[9] in "24", answer


async def open_streams(served: Served) -> int:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as anybody:
        text = (await anybody.get("/metrics")).text
    return int(
        float(next(line for line in text.splitlines() if line.startswith("setpoint_gateway_streams ")).split()[1])
    )


async def test_a_stream_whose_client_has_gone_gives_its_place_back(
    api: httpx.AsyncClient, served: Served, session: str
) -> None:
    before = await open_streams(served)
    async with api.stream("GET", f"/v1/sessions/{session}/events", headers=STREAM) as stream:
        assert stream.status_code == 200
        assert await open_streams(served) == before + 1

    async def is_back() -> bool:
        return await open_streams(served) <= before

    async with asyncio.timeout(5):  # the next heartbeat would be after 15
        await soon(is_back, "the place of the stream is free")


def test_one_tenant_has_a_part_of_the_streams() -> None:
    streams = Streams(most=5, each=2)
    with streams.one("a"), streams.one("a"):
        with pytest.raises(Problem) as refused, streams.one("a"):
            pass
        assert refused.value.code == "quota-exceeded"
        with streams.one("b"), streams.one("b"), streams.one("c"), pytest.raises(Problem), streams.one("d"):
            pass
    with streams.one("a"), streams.one("a"):
        pass
    assert SSE_CLIENTS_PER_TENANT_MAX < 2000


async def test_one_tenants_costly_work_does_not_hold_up_another() -> None:
    shares = Shares(each=1)
    async with shares.one("a"):
        waiting = asyncio.create_task(enter(shares, "a"))
        await enter(shares, "b")
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)


async def enter(shares: Shares, tenant: str) -> None:
    async with shares.one(tenant):
        pass


async def test_slow_uploads_of_one_tenant_leave_room_for_another(
    api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    content = b"x" * (2 * MIB)
    name, over = hashlib.sha256(content).hexdigest(), asyncio.Event()
    begun = asyncio.Semaphore(0)

    async def dribble() -> Any:
        yield content[:1]
        begun.release()
        await over.wait()
        yield content[1:]

    slow = [asyncio.create_task(api.put(f"/v1/blobs/{name}", content=dribble())) for _ in range(6)]
    try:
        for _ in range(COSTLY_PER_TENANT_MAX):
            await begun.acquire()
        async with asyncio.timeout(5):
            assert (await other.put(f"/v1/blobs/{name}", content=content)).status_code == 201
            assert (await other.get(f"/v1/blobs/{name}")).content == content
    finally:
        over.set()
        answers = await asyncio.gather(*slow)
    assert {answer.status_code for answer in answers} <= {200, 201}
    problem(await other.get("/v1/blobs/" + "0" * 64), 404, "not-found")
