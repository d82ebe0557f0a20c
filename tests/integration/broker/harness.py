"""Real broker processes, real host links, and the raw frames of a host that does not behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from setpoint import runtime
from setpoint.brokerlink import BrokerLink
from setpoint.contracts import codec, hint
from setpoint.contracts.hint import Role
from setpoint.contracts.reply import Refused
from setpoint.identity import Identity
from tests.measured import measured

JOIN_TOKEN = "join-" + "j" * 32
OPERATOR_KEY = "operator-" + "o" * 32
BOUND_S = 20.0
FAKE_HOST = Path(__file__).with_name("fake_host.py")


@dataclass
class Process:
    """A child whose lines are kept; ``line`` waits for one that fits."""

    child: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    _grew: asyncio.Condition = field(default_factory=asyncio.Condition)
    _reader: asyncio.Task[None] | None = None

    def follow(self, stream: asyncio.StreamReader) -> None:
        self._reader = asyncio.create_task(self._follow(stream))

    async def _follow(self, stream: asyncio.StreamReader) -> None:
        async for text in stream:
            async with self._grew:
                self.raw.append(text.decode(errors="replace"))
                with contextlib.suppress(ValueError):
                    self.lines.append(json.loads(text))
                self._grew.notify_all()

    async def line(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first line that fits, those already there included."""
        async with asyncio.timeout(BOUND_S), self._grew:
            while True:
                for line in self.lines:
                    if fits(line):
                        return line
                await self._grew.wait()

    async def said(self, event: str, **fields: str) -> dict[str, Any]:
        """Return the log line of an event."""
        return await self.line(lambda line: {"event": event, **fields}.items() <= line.items())

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    async def end(self) -> int:
        """Wait for the process to end by itself."""
        async with asyncio.timeout(BOUND_S):
            code = await self.child.wait()
            if self._reader is not None:
                await self._reader
            return code

    async def kill(self) -> None:
        if self.child.returncode is None:
            self.child.kill()
        await self.end()


@dataclass
class Broker(Process):
    """A running broker process."""

    port: int = 0
    state_dir: Path = Path()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def get(self, path: str, key: str | None = OPERATOR_KEY) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            return await http.get(f"http://{self.address}{path}", headers=headers)

    async def post(self, path: str, content: bytes = b"", key: str | None = OPERATOR_KEY) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            return await http.post(f"http://{self.address}{path}", headers=headers, content=content)

    async def ready(self) -> None:
        async with asyncio.timeout(BOUND_S):
            while (await self.get("/readyz", None)).status_code != 200:
                pass


def settings(dsn: str, state_dir: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "SETPOINT_LISTEN": "127.0.0.1:0",
        "SETPOINT_DATABASE_URL": dsn,
        "SETPOINT_STATE_DIR": str(state_dir),
        "SETPOINT_JOIN_TOKEN": JOIN_TOKEN,
        "SETPOINT_OPERATOR_KEY": OPERATOR_KEY,
        "SETPOINT_LOG_FORMAT": "json",
    } | more


async def spawn_broker(environment: Mapping[str, str]) -> Broker:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "broker"),
        env=measured() | dict(environment),
        cwd="/",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    broker = Broker(child, state_dir=Path(environment["SETPOINT_STATE_DIR"]))
    assert child.stderr is not None
    broker.follow(child.stderr)
    return broker


@contextlib.asynccontextmanager
async def running_broker(dsn: str, state_dir: Path, **more: str) -> AsyncIterator[Broker]:
    broker = await spawn_broker(settings(dsn, state_dir, **more))
    try:
        broker.port = (await broker.said("broker listens"))["port"]
        await broker.ready()
        yield broker
    finally:
        await broker.kill()


@contextlib.asynccontextmanager
async def fake_host(directory: Path, host: str, role: Role, broker: Broker, *, linked: bool) -> AsyncIterator[Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(FAKE_HOST), str(directory), host, role, broker.address, JOIN_TOKEN),
        "yes" if linked else "no",
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        stdout=asyncio.subprocess.PIPE,
    )
    process = Process(child)
    assert child.stdout is not None
    process.follow(child.stdout)
    try:
        await process.line(lambda line: "address" in line)
        if linked:
            await process.line(lambda line: "admitted" in line)
        yield process
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGCONT)
        await process.kill()


@contextlib.asynccontextmanager
async def linked(link: BrokerLink) -> AsyncIterator[BrokerLink]:
    """Run a host's link for the length of the block."""
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(frozen=True)
class Raw:
    """A link on which a test says what it likes."""

    socket: ClientConnection

    async def ask(self, frame: object) -> Any:
        """Send a frame and return what comes next; None when the broker closes the link instead."""
        await self.socket.send(codec.pack(frame))
        return await self.next()

    async def next(self) -> Any:
        try:
            async with asyncio.timeout(BOUND_S):
                content = await self.socket.recv()
        except ConnectionClosed:
            return None
        assert isinstance(content, bytes)
        return codec.Unpacker(hint.FromBroker)(content)


@contextlib.asynccontextmanager
async def raw(broker: Broker, headers: Mapping[str, str]) -> AsyncIterator[Raw]:
    async with connect(
        f"ws://{broker.address}/ws", additional_headers=dict(headers), compression=None, proxy=None, close_timeout=1
    ) as socket:
        yield Raw(socket)


def join_of(identity: Identity, **more: Any) -> hint.Join:
    fields: dict[str, Any] = {
        "id": 1,
        "host": identity.host,
        "role": identity.role,
        "public_key": identity.public_key,
        "incarnation": identity.incarnation,
        "address": "127.0.0.1:9",
        "ledger_id": runtime.new_id(),
    }
    return hint.Join(**(fields | more))


async def ask_to_join(broker: Broker, identity: Identity, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Open a link, send a Join, and return the answer. A refusal must be followed by the end of the link."""
    async with raw(broker, identity.headers("broker") if headers is None else headers) as link:
        answer = await link.ask(join_of(identity, **more))
        if isinstance(answer, Refused):
            assert await link.next() is None
        return answer


def code_of(answer: object) -> str:
    return answer.code if isinstance(answer, Refused) else type(answer).__name__
