"""The client side of every daemon link: one WebSocket, msgpack frames, answers matched by ``id``, reconnecting.

celld uses it towards sandboxd, the gateway towards celld, all hosts towards the broker. The server side is in
``setpoint.web``. A link carries no truth: when it is down, callers get LinkDown and whatever was asked is asked again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from setpoint import runtime
from setpoint.contracts import codec, limits

_OPEN_S = 2.0
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class LinkDown(Exception):
    """The link is not connected, or was lost before the answer came: whether the request had effect is unknown."""


class LinkClient:
    """A link to one server. ``run`` keeps it connected until cancelled; ``request`` and ``send`` use it meanwhile.

    ``url`` and ``headers`` are asked anew for each connection; ``on_push`` gets every frame without a waiting request
    (it must not block); ``on_up`` and ``on_down`` are called as the connection comes and goes.
    """

    def __init__(
        self,
        *,
        url: Callable[[], str],
        headers: Callable[[], Mapping[str, str]],
        replies: Any,
        on_push: Callable[[Any], None] = lambda frame: None,
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
        name: str = "link",
    ) -> None:
        self._url, self._headers, self._name = url, headers, name
        self._unpack = codec.Unpacker(replies)
        self._on_push, self._on_up, self._on_down = on_push, on_up, on_down
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._outbox: asyncio.Queue[bytes] | None = None
        self.refused_status: int | None = None
        """HTTP status of the last refused handshake, None after a good one."""

    @property
    def connected(self) -> bool:
        """Tell whether the link is up now."""
        return self._outbox is not None

    def next_id(self) -> int:
        """Return a fresh request id."""
        return next(self._ids)

    def send(self, frame: object) -> bool:
        """Queue a frame that has no answer; returns False (and drops it) when the link is down or its queue is full."""
        if self._outbox is None or self._outbox.full():
            return False
        self._outbox.put_nowait(codec.pack(frame))
        return True

    async def request(self, frame: Any, timeout_s: float) -> Any:
        """Send a frame with an ``id`` from ``next_id`` and return its answer. Raises LinkDown, TimeoutError."""
        if len(self._waiting) >= limits.LINK_PENDING_MAX or not self.send(frame):
            raise LinkDown(f"{self._name}: not connected")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[frame.id] = future
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        finally:
            self._waiting.pop(frame.id, None)

    async def run(self) -> None:
        """Connect, and connect again with back-off, until cancelled."""
        attempt = 0
        while True:
            try:
                async with self._connected() as socket:
                    attempt = 0
                    await self._serve(socket)
            except InvalidStatus as error:
                self._note_refusal(error.response.status_code)
            except (OSError, TimeoutError, WebSocketException, InvalidHandshake, codec.FrameRefused) as error:
                if attempt == 0:
                    runtime.log().info("link down", link=self._name, why=f"{type(error).__name__}: {error}"[:200])
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1

    def _connected(self) -> connect:
        return connect(
            self._url(),
            additional_headers=dict(self._headers()),
            compression=None,
            proxy=None,
            open_timeout=_OPEN_S,
            close_timeout=0.5,
            ping_interval=2.0,
            ping_timeout=4.0,
            max_size=limits.LINK_FRAME_BYTES_MAX,
        )

    def _note_refusal(self, status: int) -> None:
        if self.refused_status != status:
            runtime.log().warning("link refused", link=self._name, status=status)
        self.refused_status = status

    async def _serve(self, socket: ClientConnection) -> None:
        self.refused_status = None
        self._outbox = asyncio.Queue(limits.LINK_PENDING_MAX)
        writer = asyncio.create_task(self._write(socket, self._outbox))
        try:
            self._on_up()
            async for content in socket:
                if isinstance(content, bytes):
                    self._dispatch(self._unpack(content))
        finally:
            self._outbox = None
            writer.cancel()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(LinkDown(f"{self._name}: lost"))
            self._on_down()
            # Not awaited as such: who cancels this link while it goes down would be taken for the writer's end.
            await asyncio.wait({writer})
            if not writer.cancelled():
                writer.exception()

    def _dispatch(self, frame: Any) -> None:
        future = self._waiting.get(getattr(frame, "id", 0))
        if future is None:
            self._on_push(frame)
        elif not future.done():
            future.set_result(frame)

    @staticmethod
    async def _write(socket: ClientConnection, outbox: asyncio.Queue[bytes]) -> None:
        while True:
            await socket.send(await outbox.get())
