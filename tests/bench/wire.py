"""Clients of the gateway that cost next to nothing: one that posts commands, one that hears a session's events.

For benches of latency: both are bare sockets on one event loop, so what is measured is the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_EVENT = re.compile(rb"id: (\d+)\nevent: ([^\n]*)\ndata: ([^\n]*)\n\n")
_COMMAND = re.compile(rb'"command_id":"([^"]+)"')
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_PIECE = 65536


class NotAccepted(Exception):
    """The gateway answered a command with something else than 202; the text is its answer."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as it arrived: ``at_s`` is the monotonic clock of this process, ``command_id`` empty without one."""

    session: str
    seq: int
    type: str
    command_id: str
    at_s: float


class Poster:
    """Posts commands over one connection that is kept, one at a time; a connection that broke is made again."""

    def __init__(self, port: int, api_key: str) -> None:
        self._port, self._api_key = port, api_key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def command(self, session: str, kind: str, payload: dict[str, Any]) -> str:
        """Return the command's id once it is answered with 202. Raises NotAccepted, ConnectionError."""
        body = json.dumps({"type": kind, "payload": payload}).encode()
        head = (
            f"POST /v1/sessions/{session}/commands HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self._api_key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            reader, writer = self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(answer)
            content = await reader.readexactly(int(length[1])) if length else b""
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.close()
            raise ConnectionError(str(error)) from error
        if not answer.startswith(b"HTTP/1.1 202"):
            raise NotAccepted(content.decode())
        return str(json.loads(content)["command_id"])

    def close(self) -> None:
        """Let the connection go. Idempotent."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


class Listener:
    """Hears one session after a seq and tells ``hear``; ends with ConnectionError when the gateway goes."""

    def __init__(self, port: int, api_key: str, session: str, after: int, hear: Callable[[Heard], None]) -> None:
        self._port, self._api_key, self._session, self._after = port, api_key, session, after
        self._hear = hear
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(
                f"GET /v1/sessions/{self._session}/events HTTP/1.0\r\nHost: bench\r\nAccept: text/event-stream\r\n"
                f"Authorization: Bearer {self._api_key}\r\nLast-Event-ID: {self._after}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 200"), head.decode()
            self.connected.set()
            rest = b""
            while piece := await reader.read(_PIECE):
                rest = self._take(rest + piece)
            raise ConnectionError("the stream ended")
        finally:
            writer.transport.abort()

    def _take(self, content: bytes) -> bytes:
        """Tell the whole events of what was read; return what is left over."""
        now_s, end = time.monotonic(), 0
        for found in _EVENT.finditer(content):
            end = found.end()
            command = _COMMAND.search(found[3])
            self._hear(
                Heard(self._session, int(found[1]), found[2].decode(), command[1].decode() if command else "", now_s)
            )
        return content[end:]
