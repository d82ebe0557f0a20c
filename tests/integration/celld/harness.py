"""Real celld processes on a real database, with real brokers and sandbox hosts where a test needs them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrations.door import Pool, Row, open_pool
from setpoint import runtime
from setpoint.contracts import grant
from setpoint.contracts.hint import Role
from setpoint.identity import Identity
from tests.accounts import sandbox_uid_first
from tests.measured import measured

BOUND_S = 30.0
JOIN_TOKEN = "join-" + "j" * 32
T = TypeVar("T")


class Database(Protocol):
    """The fixture ``database`` of tests/conftest.py."""

    name: str
    dsn: Callable[[str], str]


@dataclass
class Process:
    """A daemon under test: its log lines, its health, its end."""

    name: str
    child: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    grew: asyncio.Condition = field(default_factory=asyncio.Condition)
    reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self.child.pid

    async def follow(self) -> None:
        assert self.child.stderr is not None
        async for text in self.child.stderr:
            async with self.grew:
                self.raw.append(text.decode(errors="replace"))
                with contextlib.suppress(ValueError):
                    self.lines.append(json.loads(text))
                self.grew.notify_all()
        async with self.grew:
            self.grew.notify_all()

    async def said(self, event: str, nth: int = 1, **fields: object) -> dict[str, Any]:
        """Return the nth log line of an event, waiting for it."""
        wanted = {"event": event, **fields}
        try:
            async with asyncio.timeout(BOUND_S), self.grew:
                while True:
                    found = [line for line in self.lines if wanted.items() <= line.items()]
                    if len(found) >= nth:
                        return found[nth - 1]
                    await self.grew.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} never said {wanted}: {''.join(self.raw[-30:])}") from None

    async def end(self) -> int:
        async with asyncio.timeout(BOUND_S):
            code = await self.child.wait()
            if self.reader is not None:
                await self.reader
            return code

    async def kill(self, number: int = signal.SIGKILL) -> int:
        if self.child.returncode is None:
            self.child.send_signal(number)
            if number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):
                    self.child.send_signal(signal.SIGCONT)
        return await self.end()


@dataclass
class Celld(Process):
    """A running cell host."""

    address: str = ""
    host: str = ""
    state_dir: Path = Path()

    async def health(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            answer: dict[str, Any] = (await http.get(f"http://{self.address}/healthz")).json()
            return answer

    def cells(self) -> dict[str, int]:
        """Return session -> pid of the cells that have a process to themselves, as process titles tell."""
        return {title: pid for pid, title in self._titled().items() if not title.startswith("of tenant ")}

    def shared(self) -> dict[int, str]:
        """Return pid -> tenant of the processes that sessions share."""
        titled = self._titled().items()
        return {pid: title.removeprefix("of tenant ") for pid, title in titled if title.startswith("of tenant ")}

    def _titled(self) -> dict[int, str]:
        found = titles()
        zygotes = [pid for pid, (parent, title) in found.items() if parent == self.pid and title.endswith("zygote")]
        return {
            pid: title.removeprefix("setpoint: cell ")
            for pid, (parent, title) in found.items()
            if parent in zygotes and title.startswith("setpoint: cell ")
        }


def titles() -> dict[int, tuple[int, str]]:
    """Return pid -> (parent, title) of every setpoint process that has set one."""
    found: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            title = (entry / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
            if title.startswith("setpoint: "):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(entry.name)] = (parent, title)
    return found


@dataclass(frozen=True)
class Session:
    tenant: str
    id: str


@dataclass
class World:
    """A database, a directory, and the processes a test has started in it."""

    database: Database
    root: Path
    gateway: Pool
    all_seeing: Pool
    celld_pool: Pool
    trust: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    processes: list[Process] = field(default_factory=list)
    broker_address: str = ""

    def identity(self, directory: Path, host: str, role: Role) -> Identity:
        """Make a host that a broker has admitted before: its token and the broker's key lie on its disk."""
        identity = Identity(directory, host, role)
        token = grant.sign_host_token(
            self.trust, "test", host=host, role=role, host_key=identity.public_key, now_s=runtime.now_s()
        )
        identity.learn(host_token=token, keys={"test": grant.public_text(self.trust)})
        return identity

    async def celld(self, host: str = "cell-a", *, admitted: bool = True, **environment: str) -> Celld:
        """Start a cell host and wait until it serves."""
        state_dir = self.root / host
        if admitted and not (state_dir / "host.token").exists():
            self.identity(state_dir, host, "cell")
        child = await self.spawn("celld", self.environment(host, "setpoint_celld", state_dir) | environment)
        celld = Celld(host, child, host=host, state_dir=state_dir)
        self._keep(celld)
        celld.address = str((await celld.said("celld listens"))["address"])
        if admitted:
            await celld.said("celld serves")
        return celld

    async def broker(self) -> Process:
        """Start a broker."""
        state = self.root / "broker"
        environment = self.environment("broker", "setpoint_broker", state) | {"SETPOINT_OPERATOR_KEY": "o" * 32}
        broker = Process("broker", await self.spawn("broker", environment))
        self._keep(broker)
        async with asyncio.timeout(BOUND_S), broker.grew:
            while not (found := [line for line in broker.lines if "port" in line or "address" in line]):
                await broker.grew.wait()
        self.broker_address = f"127.0.0.1:{found[0]['port']}"
        return broker

    async def sandboxd(self, host: str = "sandbox-a", **environment: str) -> Process:
        """Start a sandbox host at the broker of this world and wait until it is registered."""
        state = self.root / host
        state.mkdir(exist_ok=True, mode=0o711)
        accounts = {"SETPOINT_SANDBOX_UID_FIRST": str(sandbox_uid_first())}
        settings = self.environment(host, None, state) | accounts | environment
        sandboxd = Process(host, await self.spawn("sandboxd", settings))
        self._keep(sandboxd)
        await sandboxd.said("serving")

        async def registered() -> bool:
            rows = await self.all_seeing.fetch("SELECT 1 FROM setpoint.sandbox_hosts WHERE host_id = $1", host)
            return bool(rows)

        await until(registered, "the sandbox host is registered")
        return sandboxd

    async def create(self, tenant: str | None = None, prefer: str | None = None) -> Session:
        session = Session(tenant or str(uuid.uuid4()), str(uuid.uuid4()))
        row = await self.gateway.fetchrow(
            "SELECT * FROM setpoint.create_session($1, $2, $3, $4, $5, $6, $7)",
            *(session.tenant, session.id, "s-" + uuid.uuid4().hex, "{}", prefer, None, None),
        )
        assert row is not None and row["status"] == "ok"
        return session

    async def enqueue(self, session: Session, kind: str, payload: Mapping[str, Any], lane: int = 1) -> str:
        return await self.enqueue_text(session, kind, json.dumps(payload), lane)

    async def enqueue_text(self, session: Session, kind: str, payload: str, lane: int = 1) -> str:
        """Queue a command without telling anybody."""
        command_id = str(uuid.uuid4())
        row = await self.gateway.fetchrow(
            "SELECT * FROM setpoint.enqueue($1, $2, $3, $4::smallint, $5, $6, $7, $8, $9)",
            *(session.tenant, session.id, command_id, lane, kind, payload, None, None, 100),
        )
        assert row is not None and row["status"] == "ok", row
        return command_id

    async def events(self, session: Session) -> list[Row]:
        return await self.all_seeing.fetch(
            "SELECT seq, type, epoch, command_id, asset, execution_id, data FROM setpoint.events "
            "WHERE tenant_id = $1 AND session_id = $2 ORDER BY seq",
            session.tenant,
            session.id,
        )

    async def types(self, session: Session) -> list[str]:
        return [row["type"] for row in await self.events(session)]

    async def event(self, session: Session, type_: str, nth: int = 1, after: int = 0) -> Row:
        """Wait for the nth event of a type after a seq."""

        async def found() -> Row | None:
            rows = [row for row in await self.events(session) if row["type"] == type_ and row["seq"] > after]
            return rows[nth - 1] if len(rows) >= nth else None

        return await until(found, f"{nth} x {type_} in {session.id}")

    async def ended(self, command_id: str) -> tuple[str, Any]:
        """Wait for a command's end: its status and result."""

        async def found() -> Row | None:
            return await self.all_seeing.fetchrow(
                "SELECT status, result FROM setpoint.command_results WHERE command_id = $1", command_id
            )

        row = await until(found, f"command {command_id} ends")
        return row["status"], json.loads(row["result"] or "null")

    async def head(self, session: Session) -> Row:
        row = await self.all_seeing.fetchrow(
            "SELECT * FROM setpoint.session_heads WHERE tenant_id = $1 AND session_id = $2", session.tenant, session.id
        )
        assert row is not None
        return row

    async def gapless(self, session: Session) -> bool:
        """Tell whether the log counts from 1 to the head, in one snapshot."""
        row = await self.all_seeing.fetchrow(
            "SELECT h.head_seq, (SELECT array_agg(e.seq ORDER BY e.seq) FROM setpoint.events e "
            "WHERE e.tenant_id = $1 AND e.session_id = $2) AS seqs FROM setpoint.session_heads h "
            "WHERE h.tenant_id = $1 AND h.session_id = $2",
            *(session.tenant, session.id),
        )
        assert row is not None
        return bool(row["seqs"] == list(range(1, row["head_seq"] + 1)))

    def environment(self, host: str, role: str | None, state_dir: Path) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "SETPOINT_STATE_DIR": str(state_dir),
            "SETPOINT_LISTEN": "127.0.0.1:0",
            "SETPOINT_HOST_ID": host,
            "SETPOINT_OBJECTS": str(self.root / "objects"),
            "SETPOINT_JOIN_TOKEN": JOIN_TOKEN,
            "SETPOINT_LOG_FORMAT": "json",
            "SETPOINT_BROKERS": self.broker_address,
        }
        if role is not None:
            environment["SETPOINT_DATABASE_URL"] = self.database.dsn(role)
        return environment

    async def spawn(self, module: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module),
            env=measured() | dict(environment),
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
        )

    def _keep(self, process: Process) -> None:
        process.reader = asyncio.create_task(process.follow())
        self.processes.append(process)


async def until(holds: Callable[[], Awaitable[T | None]], what: str, within_s: float = BOUND_S) -> T:
    """Ask until the answer is true and return it."""
    pause = asyncio.Event()
    try:
        async with asyncio.timeout(within_s):
            while not (answer := await holds()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(pause.wait(), 0.02)
            return answer
    except TimeoutError:
        raise AssertionError(f"waited {within_s:g} s in vain until {what}") from None


@contextlib.asynccontextmanager
async def world(database: Database, root: Path) -> AsyncIterator[World]:
    """Open a world; whatever was started in it is killed at the end."""
    pools = [await open_pool(database.dsn(f"setpoint_{role}"), size=2) for role in ("gateway", "migrate", "celld")]
    opened = World(database, root, gateway=pools[0], all_seeing=pools[1], celld_pool=pools[2])
    try:
        yield opened
    finally:
        for process in opened.processes:
            await process.kill()
            if os.environ.get("SETPOINT_TEST_LOGS"):
                print(f"--- {process.name}", "".join(process.raw), sep="\n")
        for pool in pools:
            await pool.close()
