"""A TCP proxy of ours between two daemons: it holds bytes back, loses answers, and delivers late what it held.

A ``Wire`` stands before Postgres (one per cell host) or before a sandbox host. A frozen process takes its kernel's
buffers with it; a wire fails as a network does, one direction at a time, while both ends are alive. It never changes
or reorders bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, Literal

Direction = Literal["asked", "answered"]
_BUFFER_BYTES: Final = 65_536
_CHUNKS_MAX: Final = 64
_START_S: Final = 10.0


class Wire:
    """A listener on a free port of the loopback, whose connections end at ``target``, which may change.

    ``hold`` stops a direction (``asked``: to the target), new connections included, until ``release``. ``cut`` ends
    every connection, and loses what is held.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target: Callable[[], int]) -> None:
        self._loop, self._target = loop, target
        self._pipes: set[_Pipe] = set()
        self._held: set[Direction] = set()
        made = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), loop)
        self._server = made.result(_START_S)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def hold(self, *directions: Direction) -> None:
        """Let no more bytes pass in these directions (none named: both)."""
        self._on_loop(lambda: self._set(directions or ("asked", "answered"), on=True))

    def release(self) -> None:
        """Let everything pass again, what was held first."""
        self._on_loop(lambda: self._set(("asked", "answered"), on=False))

    def cut(self) -> None:
        """End all connections; what was held is lost. New ones are served as before."""
        self._on_loop(self._cut)

    def deliver(self) -> None:
        """Let pass what was held of senders that are gone by now, and nothing else: a network that is slow."""
        self._on_loop(self._deliver)

    @property
    def held(self) -> bool:
        """Tell whether any direction is held now."""
        return bool(self._held)

    def held_bytes(self) -> int:
        """Return how many bytes to the target are held now."""
        return sum(pipe.held for pipe in tuple(self._pipes) if pipe.direction == "asked")

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._on_loop(self._server.close)
        self._on_loop(self._cut)

    def _on_loop(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(_START_S), "the loop of the wires stands still"

    def _set(self, directions: tuple[Direction, ...], *, on: bool) -> None:
        for direction in directions:
            (self._held.add if on else self._held.discard)(direction)
        for pipe in self._pipes:
            pipe.gate(pipe.direction not in self._held)

    def _deliver(self) -> None:
        for pipe in self._pipes:
            if pipe.ended:
                pipe.gate(True)

    def _cut(self) -> None:
        for pipe in self._pipes:
            pipe.end()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target(), limit=_BUFFER_BYTES)
        except OSError:
            writer.transport.abort()
            return
        pipes = (_Pipe("asked", reader, there[1]), _Pipe("answered", there[0], writer))
        self._pipes.update(pipes)
        try:
            await asyncio.gather(*(pipe.run(pipe.direction not in self._held) for pipe in pipes))
        finally:
            self._pipes.difference_update(pipes)


class _Pipe:
    """One direction of one connection. What is held when the source ends is still delivered after a release."""

    def __init__(self, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self.direction, self._source, self._sink = direction, source, sink
        self._open = asyncio.Event()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_CHUNKS_MAX)
        self.held = 0
        self.ended = False

    def gate(self, passes: bool) -> None:
        """Let bytes pass, or hold them."""
        (self._open.set if passes else self._open.clear)()

    def end(self) -> None:
        """End the connection at once, and with it what is held."""
        self._sink.transport.abort()
        self._open.set()

    async def run(self, passes: bool) -> None:
        """Copy until the source ends or the sink is gone."""
        self.gate(passes)
        reading = asyncio.create_task(self._read())
        try:
            while chunk := await self._chunks.get():
                await self._open.wait()
                self._sink.write(chunk)
                await self._sink.drain()
                self.held -= len(chunk)
            await self._open.wait()
        except OSError:
            pass  # the sink went away: so does the source
        finally:
            reading.cancel()
            with contextlib.suppress(OSError):
                self._sink.close()

    async def _read(self) -> None:
        """Take in what comes, to the end, which is an empty chunk."""
        chunk = b"begin"
        while chunk:
            try:
                chunk = await self._source.read(_BUFFER_BYTES)
            except OSError:
                chunk = b""
            self.held += len(chunk)
            self.ended = not chunk
            await self._chunks.put(chunk)


class Wires:
    """The loop and thread of all wires of a run, by name. ``close`` ends them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()
        self.named: dict[str, Wire] = {}

    def add(self, name: str, target: Callable[[], int]) -> Wire:
        """Open a wire to the port that ``target`` names."""
        self.named[name] = Wire(self._loop, target)
        return self.named[name]

    def release(self) -> None:
        """Let everything pass everywhere."""
        for wire in self.named.values():
            wire.release()

    def close(self) -> None:
        """Close every wire and stop the loop."""
        for wire in self.named.values():
            wire.close()

        async def settle() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(settle(), self._loop).result(_START_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()
