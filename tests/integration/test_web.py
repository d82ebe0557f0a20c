"""The server that every daemon shares, against clients that only hold on to it."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from setpoint.contracts import limits
from setpoint.web import serve_app

BOUND_S = 10.0


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: b", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_a_connection_without_a_request_is_closed(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_IDLE_S_MAX", 0.2)
    runner, port = await serve_app(web.Application(), "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(BOUND_S):
            left = await reader.read()  # until the server has closed it
        assert left == b"" or left.startswith(b"HTTP/1.1 404 ")
        writer.close()
    finally:
        await runner.cleanup()


async def test_a_header_that_dribbles_in_gains_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_IDLE_S_MAX", 0.2)
    runner, port = await serve_app(web.Application(), "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(BOUND_S):
            while not closed.done():
                writer.write(b"X: y\r\n")
                await asyncio.wait({closed}, timeout=0.05)
        writer.close()
    finally:
        await runner.cleanup()
    assert limits.HTTP_IDLE_S_MAX < BOUND_S
