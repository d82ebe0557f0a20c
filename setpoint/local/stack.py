"""The all-in-one stack: Postgres and every daemon as processes of their own on this machine, supervised.

``setpoint up`` and ``setpoint demo`` run one; the acceptance tests run one with more hosts. It makes and distributes
all first secrets (conventions.md, "First trust"): role passwords, join token, operator key, a tenant and its API key,
each in a file of mode 0600. With SETPOINT_DATABASE_URL nothing embedded starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from migrations import runner
from migrations.admin import ensure_api_key, ensure_join_token, ensure_tenant
from migrations.door import Refused
from migrations.outcome import Fault
from setpoint import runtime
from setpoint.identity import write_private
from setpoint.local.account import AccountRefused
from setpoint.local.binaries import BinariesMissing
from setpoint.local.postgres import PostgresCluster
from setpoint.local.postgres_process import PostgresFailed
from setpoint.local.process import RESTARTS_PER_MINUTE_MAX, Daemon, DaemonFailed, StackFailed

ROLES: Final = ("setpoint_migrate", "setpoint_gateway", "setpoint_broker", "setpoint_celld")
_DATABASE: Final = "setpoint"
UIDS_PER_HOST: Final = 60_000
_READY_S: Final = 30.0
_DATABASE_LOOK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What a stack is made of. A port of 0 means: take a free one. ``extra`` is environment per daemon name.

    ``sandbox_uid_first``: the first account of sandboxes, used as root; each sandbox host has UIDS_PER_HOST of its own.
    """

    state_dir: Path
    gateway_port: int = 8080
    broker_port: int = 8081
    celld_port: int = 8082
    sandboxd_port: int = 8083
    cell_hosts: int = 1
    sandbox_hosts: int = 1
    gateways: int = 1
    brokers: int = 1
    unsafe_no_isolation: bool = False
    tenant: str = "dev"
    database_url: str = ""
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    supervise: bool = True
    sandbox_uid_first: int = 600_000


class Stack:
    """A running stack. ``start`` returns when every part is ready; ``stop`` is idempotent and bounded."""

    def __init__(self, settings: StackSettings, say: Callable[[str], None]) -> None:
        self.settings, self._say = settings, say
        self.root = settings.state_dir
        self.daemons: dict[str, Daemon] = {}
        self.ports: dict[str, int] = {}
        self.cluster: PostgresCluster | None = None
        self.api_key = ""
        self._keepers: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[str] | None = None
        self._is_ready = self._stopping = False

    @property
    def server(self) -> str:
        """Return the URL of the gateway."""
        return f"http://127.0.0.1:{self.ports.get('gateway', self.settings.gateway_port)}"

    async def start(self) -> None:
        """Start everything, in the order of what needs what. Raises StackFailed with the reason and what to do.

        Call ``stop`` afterwards, however this ended.
        """
        self.failed = asyncio.get_running_loop().create_future()
        try:
            self._make_directories()
            self._write_facts()
            dsns = await self._database()
            await self._first_trust(dsns)
        except (AccountRefused, BinariesMissing, PostgresFailed) as error:
            raise StackFailed(str(error)) from error
        except (Fault, Refused) as error:
            where = "SETPOINT_DATABASE_URL" if self.settings.database_url else "the embedded Postgres"
            raise StackFailed(f"the database ({where}) cannot be used: {error}") from error
        except OSError as error:
            raise StackFailed(f"the state directory {self.root} cannot be used: {error}") from error
        self._plan(dsns)
        self._say("starting " + ", ".join(self.daemons))
        for daemon in self.daemons.values():
            await daemon.start()
        if self.settings.supervise:
            self._keepers = [asyncio.create_task(self._keep(daemon)) for daemon in self.daemons.values()]
            self._keepers.append(asyncio.create_task(self._keep_database()))
        await self.wait_ready(*self.daemons)
        self._is_ready = True
        self._write_facts()

    async def stop(self) -> None:
        """Stop the daemons (hosts first, so that sessions are handed over cleanly), then Postgres.

        Idempotent. Raises StackFailed when Postgres does not end.
        """
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)  # one may be in the middle of a start
        for group in ("gateway", "celld", "sandboxd", "broker"):
            await asyncio.gather(*(d.stop() for name, d in self.daemons.items() if name.split("-")[0] == group))
        if self.cluster is not None:
            try:
                await self.cluster.stop()
            except PostgresFailed as error:
                raise StackFailed(str(error)) from error
        (self.root / "stack.json").unlink(missing_ok=True)

    def facts(self) -> dict[str, Any]:
        """Return what runs where: pids with start times, ports, state directory, supervisor."""
        parts = {name: _part(daemon.pid, self.ports[name]) for name, daemon in self.daemons.items()}
        if self.cluster is not None:
            parts["postgres"] = _part(self.cluster.pid, self.cluster.port)
        return {
            "ready": self._is_ready,
            "server": self.server,
            "state_dir": str(self.root),
            "supervisor": os.getpid(),
            "supervisor_start": runtime.process_start(os.getpid()),
            "processes": parts,
        }

    def _make_directories(self) -> None:
        for directory in (self.root, self.root / "logs", self.root / "secrets", self.root / "objects"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only this directory is opened, and only for passing through: Postgres and sandboxes run under other accounts.
        self.root.chmod(0o711)

    async def _database(self) -> dict[str, str]:
        passwords = {role: self._secret(f"{role}.password") for role in ROLES}
        admin = self.settings.database_url
        if not admin:
            self._say("starting Postgres")
            self.cluster = PostgresCluster(self.root / "postgres")
            await self.cluster.start()
            admin = await self.cluster.ensure_database(_DATABASE)
        await runner.bootstrap(admin, passwords)
        dsns = {role: _with_login(admin, role, password) for role, password in passwords.items()}
        applied = await runner.migrate(dsns["setpoint_migrate"])
        if applied:
            self._say(f"database: applied {len(applied)} migrations")
        for role, dsn in dsns.items():
            write_private(self.root / "secrets" / f"{role}.dsn", dsn.encode())
        return dsns

    async def _first_trust(self, dsns: Mapping[str, str]) -> None:
        dsn = dsns["setpoint_migrate"]
        tenant = await ensure_tenant(dsn, self.settings.tenant)
        path = self.root / "secrets" / "api.key"
        if not path.exists():
            write_private(path, (await ensure_api_key(dsn, tenant, "local")).encode())
        self.api_key = path.read_text().strip()
        await ensure_join_token(dsn, self._secret("join.token"))
        self._secret("operator.key")

    def _secret(self, name: str) -> str:
        path = self.root / "secrets" / name
        if not path.exists():
            write_private(path, runtime.new_secret().encode())
        return path.read_text().strip()

    def secret(self, name: str) -> str:
        """Return a secret this stack made: ``api.key``, ``operator.key``, ``join.token``."""
        return (self.root / "secrets" / name).read_text().strip()

    def _plan(self, dsns: Mapping[str, str]) -> None:
        chosen = self.settings
        for n in range(chosen.brokers):
            self._daemon(_numbered("broker", n), "broker", chosen.broker_port if n == 0 else 0, "setpoint_broker")
        unsafe = ("--unsafe-no-isolation",) if chosen.unsafe_no_isolation else ()
        for n in range(chosen.sandbox_hosts):
            port = chosen.sandboxd_port if n == 0 else 0
            self._daemon(_numbered("sandboxd", n), "sandboxd", port, None, unsafe)
        for n in range(chosen.cell_hosts):
            self._daemon(_numbered("celld", n), "celld", chosen.celld_port if n == 0 else 0, "setpoint_celld")
        for n in range(chosen.gateways):
            port = chosen.gateway_port if n == 0 else 0
            self._daemon(_numbered("gateway", n), "gateway", port, "setpoint_gateway")

    def _daemon(self, name: str, module: str, port: int, role: str | None, arguments: tuple[str, ...] = ()) -> None:
        self.ports[name] = port or free_port()
        secrets = self.root / "secrets"
        state = self.root / name
        state.mkdir(exist_ok=True, mode=0o711)
        environment = {
            key: os.environ[key] for key in ("PATH", "LANG", "TZ", "SETPOINT_BWRAP") if key in os.environ
        } | {
            "SETPOINT_STATE_DIR": str(state),
            "SETPOINT_LISTEN": f"127.0.0.1:{self.ports[name]}",
            "SETPOINT_ADVERTISE": f"127.0.0.1:{self.ports[name]}",
            "SETPOINT_HOST_ID": name,
            "SETPOINT_BROKERS": ",".join(f"127.0.0.1:{port}" for port in self._ports_of("broker")),
            "SETPOINT_OBJECTS": str(self.root / "objects"),
            "SETPOINT_JOIN_TOKEN_FILE": str(secrets / "join.token"),
            "SETPOINT_LOG_FORMAT": "json",
        }
        if module == "sandboxd":
            first = self.settings.sandbox_uid_first + len(self.daemons) * UIDS_PER_HOST
            environment["SETPOINT_SANDBOX_UID_FIRST"] = str(first)
            environment["SETPOINT_SANDBOX_UID_COUNT"] = str(UIDS_PER_HOST)
        if role:
            environment["SETPOINT_DATABASE_URL_FILE"] = str(secrets / f"{role}.dsn")
        if module == "broker":
            environment["SETPOINT_OPERATOR_KEY_FILE"] = str(secrets / "operator.key")
        environment |= self.settings.extra.get(name, {})
        log_path = self.root / "logs" / f"{name}.log"
        self.daemons[name] = Daemon(name, module, environment, log_path, self._say, arguments, self._write_facts)

    def _ports_of(self, kind: str) -> list[int]:
        return [port for name, port in self.ports.items() if name.split("-")[0] == kind]

    async def _keep(self, daemon: Daemon) -> None:
        try:
            await daemon.keep()
        except DaemonFailed as error:
            self._fail(str(error))

    async def _keep_database(self) -> None:
        """Start the embedded Postgres again when it dies; the daemons wait for it and go on by themselves."""
        restarts: deque[float] = deque(maxlen=RESTARTS_PER_MINUTE_MAX)
        while self.cluster is not None and self.failed is not None:
            await asyncio.sleep(_DATABASE_LOOK_S)
            if self.cluster.pid is not None:
                continue
            if len(restarts) == restarts.maxlen and restarts[0] > time.monotonic() - 60:
                self._fail(f"Postgres died {len(restarts) + 1} times within a minute; its log: {self.cluster.log_path}")
                return
            restarts.append(time.monotonic())
            self._say("Postgres died; starting it again")
            try:
                await self.cluster.start()
            except (AccountRefused, BinariesMissing, PostgresFailed) as error:
                self._fail(str(error))
                return
            self._write_facts()

    def _fail(self, why: str) -> None:
        if self.failed is not None and not self.failed.done():
            self.failed.set_result(why)

    async def wait_ready(self, *names: str) -> None:
        """Wait, bounded, until these daemons say that they can serve. Raises DaemonFailed."""
        assert self.failed is not None
        try:
            async with asyncio.timeout(_READY_S), httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
                for name in names:
                    await self._ready(http, name)
        except TimeoutError:
            logs = self.root / "logs"
            raise DaemonFailed(f"not everything is ready after {_READY_S:g} s; the logs are in {logs}") from None

    async def _ready(self, http: httpx.AsyncClient, name: str) -> None:
        assert self.failed is not None
        daemon = self.daemons[name]
        while True:
            if self.failed.done():
                raise DaemonFailed(self.failed.result())
            if daemon.pid is None and not self.settings.supervise:
                raise DaemonFailed(f"{name} died: {daemon.last_words()}")
            with contextlib.suppress(httpx.HTTPError):
                answer = await http.get(f"http://127.0.0.1:{self.ports[name]}/readyz")
                if answer.is_success:
                    return
            await asyncio.sleep(0.05)

    def _write_facts(self) -> None:
        """Write down what runs now, after every start: a supervisor that is killed leaves the truth behind."""
        if self._stopping:
            return
        write_private(self.root / "stack.json", json.dumps(self.facts(), indent=2).encode())


def _part(pid: int | None, port: int) -> dict[str, Any]:
    return {"pid": pid, "port": port, "start": runtime.process_start(pid) if pid else None}


def _numbered(name: str, n: int) -> str:
    return name if n == 0 else f"{name}-{n + 1}"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def busy_ports(settings: StackSettings) -> list[str]:
    """Name the wanted ports that somebody else listens on."""
    wanted = {
        "gateway": settings.gateway_port,
        "broker": settings.broker_port,
        "celld": settings.celld_port,
        "sandboxd": settings.sandboxd_port,
    }
    busy = []
    for name, port in wanted.items():
        with socket.socket() as probe:
            if port and probe.connect_ex(("127.0.0.1", port)) == 0:
                busy.append(f"{name} wants port {port}, which is in use")
    return busy


def _with_login(dsn: str, role: str, password: str) -> str:
    """Return ``dsn`` with another role and password."""
    parts = urlsplit(dsn)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(password, safe='')}@{place}"))
