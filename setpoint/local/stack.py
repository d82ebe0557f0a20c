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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from migrations import runner
from migrations.admin import ensure_api_key, ensure_join_token, ensure_tenant
from setpoint import runtime
from setpoint.identity import write_private
from setpoint.local.postgres import PostgresCluster
from setpoint.local.process import Daemon, DaemonFailed

ROLES: Final = ("setpoint_migrate", "setpoint_gateway", "setpoint_broker", "setpoint_celld")
_DATABASE: Final = "setpoint"
_READY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What a stack is made of. A port of 0 means: take a free one. ``extra`` is environment per daemon name."""

    state_dir: Path
    gateway_port: int = 8080
    broker_port: int = 8081
    celld_port: int = 8082
    sandboxd_port: int = 8083
    cell_hosts: int = 1
    sandbox_hosts: int = 1
    gateways: int = 1
    unsafe_no_isolation: bool = False
    tenant: str = "dev"
    database_url: str = ""
    extra: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    supervise: bool = True


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

    @property
    def server(self) -> str:
        """Return the URL of the gateway."""
        return f"http://127.0.0.1:{self.ports['gateway']}"

    async def start(self) -> None:
        """Start everything, in the order of what needs what. Raises DaemonFailed with the reason and the log's path."""
        self.failed = asyncio.get_running_loop().create_future()
        for directory in (self.root, self.root / "logs", self.root / "secrets", self.root / "objects"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only this directory is opened, and only for passing through: Postgres and sandboxes run under other accounts.
        self.root.chmod(0o711)
        dsns = await self._database()
        await self._first_trust(dsns)
        self._plan(dsns)
        for daemon in self.daemons.values():
            await daemon.start()
        if self.settings.supervise:
            self._keepers = [asyncio.create_task(self._keep(daemon)) for daemon in self.daemons.values()]
        await self.wait_ready(*self.daemons)
        self._write_facts()

    async def stop(self) -> None:
        """Stop the daemons (hosts first, so that sessions are handed over cleanly), then Postgres."""
        for keeper in self._keepers:
            keeper.cancel()
        for group in ("gateway", "celld", "sandboxd", "broker"):
            await asyncio.gather(*(d.stop() for name, d in self.daemons.items() if name.split("-")[0] == group))
        if self.cluster is not None:
            await self.cluster.stop()
        with contextlib.suppress(FileNotFoundError):
            (self.root / "stack.json").unlink()

    def facts(self) -> dict[str, Any]:
        """Return what runs where: pids, ports, database, state directory."""
        parts = {name: {"pid": daemon.pid, "port": self.ports[name]} for name, daemon in self.daemons.items()}
        if self.cluster is not None:
            parts["postgres"] = {"pid": self.cluster.pid, "port": self.cluster.port}
        return {
            "server": self.server,
            "state_dir": str(self.root),
            "supervisor": os.getpid(),
            "supervisor_start": runtime.process_start(os.getpid()),
            "processes": parts,
        }

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
        self._daemon("broker", "broker", chosen.broker_port, "setpoint_broker")
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
            "SETPOINT_BROKERS": f"127.0.0.1:{self.ports['broker']}",
            "SETPOINT_OBJECTS": str(self.root / "objects"),
            "SETPOINT_JOIN_TOKEN_FILE": str(secrets / "join.token"),
            "SETPOINT_LOG_FORMAT": "json",
        }
        if role:
            environment["SETPOINT_DATABASE_URL_FILE"] = str(secrets / f"{role}.dsn")
        if module == "broker":
            environment["SETPOINT_OPERATOR_KEY_FILE"] = str(secrets / "operator.key")
        environment |= self.settings.extra.get(name, {})
        log_path = self.root / "logs" / f"{name}.log"
        self.daemons[name] = Daemon(name, module, environment, log_path, self._say, arguments)

    async def _keep(self, daemon: Daemon) -> None:
        try:
            await daemon.keep()
        except DaemonFailed as error:
            if self.failed is not None and not self.failed.done():
                self.failed.set_result(str(error))

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
        write_private(self.root / "stack.json", json.dumps(self.facts(), indent=2).encode())


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
