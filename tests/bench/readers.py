"""Readers of a stream for the bench: quick ones that check every seq, and ones that read a byte a second."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from datetime import datetime
from functools import lru_cache

_EVENT = re.compile(rb'id: (?:[0-9a-f-]{36}:)?(\d+)\nevent: [^\n]*\ndata: [^\n]*?"at":"([^"]+)"[^\n]*\n\n')
_PIECE = 65536
_RETRY_S = 0.05
_WINDOW_BYTES = 4096


async def pause(seconds: float) -> None:
    """Let that much time pass."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


class Reader:
    """Follows a session from a seq on and resumes at ``port``. Ends with AssertionError at a gap or a repeat."""

    def __init__(self, port: int, api_key: str, session: str, after: int) -> None:
        self.port, self.last, self.delays = port, after, list[float]()
        self.resumed_s = 0.0
        self.connected = asyncio.Event()
        self._api_key, self._session = api_key, session
        self._was_cut = False

    async def run(self) -> None:
        """Read until cancelled; a connection that breaks is made again after the last seq."""
        while True:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._connection()
            self._was_cut = self.connected.is_set()  # one that was not let in yet was not cut off
            await pause(_RETRY_S)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(_request(self._session, self._api_key, self.last))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.0 200"):
                return
            self.connected.set()
            rest = b""
            while piece := await reader.read(_PIECE):
                rest = self._take(rest + piece)
        finally:
            writer.transport.abort()

    def _take(self, content: bytes) -> bytes:
        """Check the whole events of what was read; return what is left over."""
        now_s, end = time.time(), 0
        for found in _EVENT.finditer(content):
            seq, end = int(found[1]), found.end()
            assert seq == self.last + 1, f"seq {seq} came after {self.last}"
            self.last = seq
            self.delays.append(now_s - _at_s(found[2]))
            if self._was_cut and not self.resumed_s:
                self.resumed_s = time.monotonic()
        return content[end:]


class SlowReader:
    """Reads a session from its start, a byte a second; comes back at once when it is cut off."""

    def __init__(self, port: int, api_key: str, session: str) -> None:
        self._port, self._api_key, self._session = port, api_key, session
        self.cut = 0

    async def run(self) -> None:
        """Read until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW_BYTES)
                slow.setblocking(False)
                with contextlib.suppress(ConnectionError):
                    await loop.sock_connect(slow, ("127.0.0.1", self._port))
                    await loop.sock_sendall(slow, _request(self._session, self._api_key, 0))
                    while await loop.sock_recv(slow, 1):
                        await pause(1.0)
            self.cut += 1


def _request(session: str, api_key: str, after: int) -> bytes:
    """Ask in HTTP/1.0, so that the answer comes without the marks of chunks."""
    return (
        f"GET /v1/sessions/{session}/events HTTP/1.0\r\nHost: bench\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {api_key}\r\nLast-Event-ID: {after}\r\n\r\n"
    ).encode()


@lru_cache(maxsize=256)
def _at_s(text: bytes) -> float:
    return datetime.fromisoformat(text.decode()).timestamp()
