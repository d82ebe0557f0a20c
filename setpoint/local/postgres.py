"""The embedded Postgres of the all-in-one stack: a small supervisor over plain binaries.

``setpoint.local.stack`` and the tests run one per state directory. It makes the cluster when there is none, attaches to
one that outlived its supervisor, lets Postgres recover after a crash, and stops it cleanly. It changes permissions of
nothing but its own directories, and never deletes a cluster.

    state_dir/            0711, so that the account can pass through
        admin.password    0600, the superuser's
        cluster/          0700, the account's: the cluster itself
        run/              0700, the account's: the socket
        bin/              the binaries, linked, when the account cannot reach the installed ones
        postgres.log
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final, TextIO
from urllib.parse import quote

from migrations import named
from migrations.door import connect
from setpoint import runtime
from setpoint.identity import open_private
from setpoint.local import account as accounts
from setpoint.local import binaries
from setpoint.local.postgres_process import PostgresFailed, Postmaster, drop_stale_pid_file

ADMIN: Final = "setpoint_admin"
_INITDB_S: Final = 120.0
_READY_S: Final = 120.0
_LOCK_S: Final = 120.0
_ATTEMPTS: Final = 40
_RETRY_S: Final = 0.25
_SOCKET_PATH_MAX: Final = 107
_SQL: Final = named.beside(__file__)
_PASSING: Final = ("bind IPv4 address", "could not create any TCP/IP sockets", "shared memory block is still in use")
"""What a start may fail with that passes by itself: a port somebody took meanwhile, backends of a killed postmaster."""


class PostgresCluster:
    """One cluster under ``state_dir``; it listens on 127.0.0.1 (passwords as scram-sha-256) and on a private socket.

    ``port`` None takes the last one again, or a free one. ``start`` first; then ``pid``, ``port`` and the DSNs hold.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int | None = None,
        fsync: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.cluster_dir = self.state_dir / "cluster"
        self.log_path = self.state_dir / "postgres.log"
        self._wanted_port, self._fsync = port, fsync
        self._environ = os.environ if environ is None else environ
        self._postmaster: Postmaster | None = None
        self._port = 0
        self._password = ""

    @property
    def pid(self) -> int | None:
        """Return the pid of the postmaster, None when it does not run."""
        return self._postmaster.pid if self._postmaster and self._postmaster.alive else None

    @property
    def port(self) -> int:
        """Return the TCP port on 127.0.0.1. Valid after ``start``."""
        return self._port

    @property
    def socket_dir(self) -> Path | None:
        """Return the directory of the Unix socket, None when its path would be longer than a socket address may be."""
        directory = self.state_dir / "run"
        longest = f"{directory}/.s.PGSQL.65535"
        return directory if len(os.fsencode(longest)) <= _SOCKET_PATH_MAX else None

    @property
    def admin_dsn(self) -> str:
        """Return the DSN of the superuser on the maintenance database. A secret."""
        return self.dsn(ADMIN, self._password, "postgres")

    def dsn(self, role: str, password: str, database: str) -> str:
        """Return a DSN over TCP. A secret when the password is one."""
        login = f"{quote(role, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self._port}/{quote(database, safe='')}"

    async def start(self) -> None:
        """Return when Postgres accepts connections: attached, recovered, or made new. Idempotent.

        Raises AccountRefused, BinariesMissing or PostgresFailed, each in one line for the operator.
        """
        account = accounts.choose(self._environ)
        self._make_state_dir(account)
        async with self._locked():
            self._password = self._load_password()
            if self.pid is not None:
                return
            if self._postmaster is not None:
                self._postmaster.forget()
            self._postmaster = Postmaster.find(self.cluster_dir)
            if self._postmaster is None:
                bin_dir = await asyncio.to_thread(
                    binaries.usable_bin_dir, self._environ, account, self.state_dir / "bin"
                )
                if not (self.cluster_dir / "PG_VERSION").exists():
                    await self._make_cluster(bin_dir, account)
                await self._launch(bin_dir, account)
            else:
                await self._wait_ready(self._postmaster)

    async def stop(self) -> None:
        """Shut Postgres down, at once and cleanly, and wait until it is gone. Idempotent; stops one found running, too.

        Raises PostgresFailed when it does not end within half a minute.
        """
        postmaster = self._postmaster or Postmaster.find(self.cluster_dir)
        self._postmaster = None
        if postmaster is not None:
            await postmaster.end()

    async def ensure_database(self, name: str) -> str:
        """Create the database unless it is there, and return the superuser's DSN for it. One caller at a time."""
        async with connect(self.admin_dsn) as connection:
            if not await connection.fetchval(_SQL["exists"], name):
                await connection.execute(await connection.fetchval(_SQL["create"], name))
        return self.dsn(ADMIN, self._password, name)

    def _make_state_dir(self, account: accounts.Account) -> None:
        if not self.state_dir.exists():
            self.state_dir.mkdir(parents=True)
            self.state_dir.chmod(0o711)
        closed = accounts.closed_directory(account, self.state_dir)
        if closed is not None:
            raise accounts.AccountRefused(
                f"Postgres runs as account {account.name}, which may not enter {closed}: choose another state directory"
            )
        run_dir = self.state_dir / "run"
        run_dir.mkdir(mode=0o700, exist_ok=True)
        account.give(run_dir)

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the state directory against a second supervisor that starts at the same moment."""
        with _open_lock(self.state_dir / "lock") as lock:
            try:
                async with asyncio.timeout(_LOCK_S):
                    while not _try_lock(lock.fileno()):
                        await asyncio.sleep(_RETRY_S)
            except TimeoutError:
                raise PostgresFailed(f"another process has been starting Postgres in {self.state_dir}") from None
            yield

    def _load_password(self) -> str:
        path = self.state_dir / "admin.password"
        if not path.exists():
            if self.cluster_dir.exists():
                raise PostgresFailed(f"{path} is missing: the password of the cluster beside it is not known")
            _write_private(path, runtime.new_secret())
        return path.read_text().strip()

    async def _make_cluster(self, bin_dir: Path, account: accounts.Account) -> None:
        """Make the cluster aside and rename it, so that a crash leaves a whole one or none."""
        building = self.state_dir / "cluster.new"
        password_file = self.state_dir / "run" / "admin.password"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        account.give(building)
        password_file.unlink(missing_ok=True)
        _write_private(password_file, self._password)
        account.give(password_file)
        try:
            await _run(_initdb(bin_dir, building, password_file), account, bin_dir)
        finally:
            password_file.unlink()
        building.rename(self.cluster_dir)

    async def _launch(self, bin_dir: Path, account: accounts.Account) -> None:
        drop_stale_pid_file(self.cluster_dir)
        # The socket directory is this cluster's alone, so a lock in it is as stale: a killed postmaster that nobody has
        # reaped yet would still pass for alive.
        for stale in (self.state_dir / "run").glob(".s.PGSQL.*.lock"):
            stale.unlink(missing_ok=True)
        if not self.log_path.exists():
            _write_private(self.log_path, "")
        words = ""
        for _ in range(_ATTEMPTS):
            said = self.log_path.stat().st_size
            self._port = self._choose_port()
            postmaster = Postmaster.launch(self._arguments(bin_dir), account, _environment(bin_dir), self.log_path)
            if await self._wait_ready(postmaster):
                return
            words = self._log_since(said)
            if not any(reason in words for reason in _PASSING):
                break
            await asyncio.sleep(_RETRY_S)
        raise PostgresFailed(f"Postgres does not start: {_one_line(words)}; its log: {self.log_path}")

    async def _wait_ready(self, postmaster: Postmaster) -> bool:
        try:
            facts = await postmaster.wait_ready(self.cluster_dir, _READY_S)
        except asyncio.CancelledError:
            await postmaster.end()  # nobody else knows of it yet
            raise
        except TimeoutError:
            await postmaster.end()
            raise PostgresFailed(f"Postgres is not ready after {_READY_S:g} s; its log: {self.log_path}") from None
        if facts is None:
            return False
        self._postmaster, self._port = postmaster, facts.port
        (self.state_dir / "port").write_text(f"{facts.port}\n")
        return True

    def _choose_port(self) -> int:
        if self._wanted_port:
            return self._wanted_port
        # The last port again where it is free: daemons of this stack may still know it.
        with contextlib.suppress(FileNotFoundError, ValueError, OSError):
            return _free_port(int((self.state_dir / "port").read_text()))
        return _free_port(0)

    def _arguments(self, bin_dir: Path) -> list[str]:
        sockets = self.socket_dir
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(sockets) if sockets else "",
            "unix_socket_permissions": "0700",
            "password_encryption": "scram-sha-256",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "fsync": "on" if self._fsync else "off",
            "synchronous_commit": "on",
            "wal_level": "replica",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] %q%u@%d ",
        }
        pairs = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(bin_dir / "postgres"), "-D", str(self.cluster_dir), *pairs]

    def _log_since(self, offset: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")


def _initdb(bin_dir: Path, directory: Path, password_file: Path) -> list[str]:
    return [
        str(bin_dir / "initdb"),
        f"--pgdata={directory}",
        f"--username={ADMIN}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--no-instructions",
    ]


async def _run(arguments: list[str], account: accounts.Account, bin_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(bin_dir),
        **account.popen_options(),
    )
    try:
        async with asyncio.timeout(_INITDB_S):
            output, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise PostgresFailed(f"{arguments[0]}: {_one_line(output.decode(errors='replace'))}")


def _environment(bin_dir: Path) -> dict[str, str]:
    """Return all a Postgres program gets: nothing of ours is in its environment, nor in that of its children."""
    return {"PATH": f"{bin_dir}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _open_lock(path: Path) -> TextIO:
    return open(path, "w", opener=open_private)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def _one_line(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-5:])
