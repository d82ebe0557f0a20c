"""Fixtures every folder of tests may use: a real Postgres, a migrated template, and a fresh copy of it per test."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from migrations import runner
from tests.postgres_servers import server, settle


@dataclass(frozen=True, slots=True)
class PgServer:
    """A Postgres server the tests may do anything with. ``admin_dsn`` may create roles and databases."""

    admin_dsn: str

    def password(self, role: str) -> str:
        """Return the password of a role: the same for all runs on one server, because roles belong to the server."""
        return hashlib.sha256(f"{role}\0{self.admin_dsn}".encode()).hexdigest()

    def dsn(self, database: str, role: str | None = None) -> str:
        """Return the DSN of a database there, as the administrator or as one of the roles."""
        parts = urlsplit(self.admin_dsn)
        place = parts.netloc
        if role is not None:
            place = f"{role}:{quote(self.password(role), safe='')}@{parts.netloc.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=place, path=f"/{database}"))

    async def run(self, sql: str) -> None:
        """Run one statement as the administrator."""
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class PgDatabase:
    """One migrated database of a test's own. Nobody else is in it."""

    server: PgServer
    name: str

    @property
    def admin_dsn(self) -> str:
        """Return the DSN of the administrator, in this database."""
        return self.server.dsn(self.name)

    def dsn(self, role: str) -> str:
        """Return the DSN of setpoint_migrate, setpoint_gateway, setpoint_broker or setpoint_celld."""
        return self.server.dsn(self.name, role)


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """The server of this run, see tests/postgres_servers.py."""
    with server(os.environ) as dsn:
        yield PgServer(dsn)


@pytest.fixture(scope="session")
def pg_template(pg_server: PgServer) -> Iterator[str]:
    """The name of a database migrated by the real runner, as the real role. Copy it; never connect to it."""
    name = f"setpoint_template_{uuid.uuid4().hex[:12]}"

    async def make() -> None:
        await pg_server.run(f'CREATE DATABASE "{name}"')
        await runner.bootstrap(pg_server.dsn(name), {role: pg_server.password(role) for role in runner.ROLES})
        await runner.migrate(pg_server.dsn(name, "setpoint_migrate"))

    settle(make())
    yield name
    settle(pg_server.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
async def database(pg_server: PgServer, pg_template: str) -> AsyncIterator[PgDatabase]:
    """A fresh copy of the template, dropped afterwards."""
    name = f"setpoint_test_{uuid.uuid4().hex[:12]}"
    await pg_server.run(f'CREATE DATABASE "{name}" TEMPLATE "{pg_template}"')
    yield PgDatabase(pg_server, name)
    await pg_server.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
