"""A wire between two processes that a test can cut or stall: real bytes, real connections, real outages."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """A TCP forwarder. ``stall`` holds bytes back, ``cut`` ends and refuses connections, ``heal`` undoes both.

    Both reach every client, or with ``only`` the processes of these pids. ``target`` may be set after ``start``.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.target, self.port = (host, port), 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._only: Collection[int] | None = None
        self._held: set[_Line] = set()
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._lines)

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def stop(self) -> None:
        """End every connection and stop listening."""
        self.cut()
        for line in list(self._lines):
            late, line.late = line.late, None
            if late is not None:
                late.set()
            line.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def stall(self) -> None:
        """Hold back everything, as a frozen server does."""
        self._flows.clear()

    def stall_now(self) -> int:
        """Hold back what goes through the connections of this moment; new ones flow. Return how many these are."""
        self._held |= self._lines
        return len(self._held)

    @property
    def kept_bytes(self) -> int:
        """Return how much waits for ``deliver``."""
        return sum(len(line.kept) for line in self._lines)

    def delay_now(self, only: Collection[int]) -> None:
        """Keep what these processes send through the connections of this moment for ``deliver``, also beyond their end.

        What comes back to them goes nowhere.
        """
        for line in self._lines:
            if line.client in only:
                line.late = asyncio.Event()

    def deliver(self) -> None:
        """Let what ``delay_now`` kept arrive."""
        for line in self._lines:
            if line.late is not None:
                line.late.set()

    def cut(self, only: Collection[int] | None = None) -> None:
        """End connections and refuse new ones, as a dead server does."""
        self._refuses, self._only = True, only
        self._flows.set()
        for line in list(self._lines):
            if self._is_cut(line):
                line.abort()

    def heal(self) -> None:
        """Let everything through again; what ``stall_now`` held stays held."""
        self._refuses, self._only = False, None
        self._flows.set()

    def _is_cut(self, line: _Line) -> bool:
        return self._refuses and (self._only is None or line.client in self._only)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(writer)
        if self._is_cut(line):
            line.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(*self.target)
        except OSError:
            line.abort()
            return
        line.writers.append(there_writer)
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(line, reader, there_writer, to_server=True))
                tasks.create_task(self._pump(line, there_reader, writer))
        finally:
            if line.late is None:  # a late one stays open towards the server
                self._lines.discard(line)
            self._held.discard(line)

    async def _pump(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while content := await reader.read(65536):
                await self._flows.wait()
                if line in self._held:
                    continue  # swallowed: neither an answer nor an end ever comes of it
                if line.late is not None and to_server:
                    line.kept += content
                    continue
                writer.write(content)
                await writer.drain()
        if line.late is not None and to_server:
            await line.late.wait()
            writer.write(line.kept)
        elif line.late is None:
            line.abort()


class _Line:
    """One connection through the wire. ``client`` is the pid of the process that made it, 0 when that is gone."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.late: asyncio.Event | None = None
        self.kept = b""
        self._peer = writer.get_extra_info("peername")

    @functools.cached_property
    def client(self) -> int:
        """The process at the other end; looked for when somebody asks, as all processes are gone through."""
        return _process_of(self._peer[1]) if self._peer is not None else 0

    def abort(self) -> None:
        for writer in self.writers[: 1 if self.late is not None else None]:  # the server's end of a late one stays
            writer.transport.abort()


def _process_of(port: int) -> int:
    """Return the pid of the process whose loopback connection has this local port, 0 when it is gone."""
    wanted = f"0100007F:{port:04X}"
    rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inode = next((row[9] for row in rows if row[1] == wanted), None)
    for name in os.listdir("/proc") if inode is not None else ():
        if name.isdigit():
            with contextlib.suppress(OSError):
                descriptors = [os.path.join(f"/proc/{name}/fd", number) for number in os.listdir(f"/proc/{name}/fd")]
                if any(os.readlink(path) == f"socket:[{inode}]" for path in descriptors):
                    return int(name)
    return 0


@contextlib.asynccontextmanager
async def wired(dsn: str) -> AsyncIterator[tuple[Wire, str]]:
    """Give a wire to the server of ``dsn``, and the DSN through it."""
    parts = urlsplit(dsn)
    wire = Wire(parts.hostname or "127.0.0.1", parts.port or 5432)
    port = await wire.start()
    try:
        yield wire, through(dsn, port)
    finally:
        await wire.stop()


def through(dsn: str, port: int) -> str:
    """Return a DSN by way of a port of this machine."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}"))
