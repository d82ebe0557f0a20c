"""One gateway process for all tests of this folder that do not break it; each test makes its own sessions."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.gateway.served import Gateway, Served, new_tenant
from tests.integration.protocol.world import World, world


@pytest.fixture(scope="session")
def served(pg_server: Any, pg_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from tests.conftest import PgDatabase

    name = f"setpoint_test_{uuid.uuid4().hex[:12]}"
    root: Path = tmp_path_factory.mktemp("gateway")
    gateway: Gateway | None = None

    async def make() -> tuple[Any, Any, Any]:
        await pg_server.run(f'CREATE DATABASE "{name}" TEMPLATE "{pg_template}"')
        database = PgDatabase(pg_server, name)
        dsn = database.dsn("setpoint_migrate")
        return database, await new_tenant(dsn, "ours"), await new_tenant(dsn, "theirs")

    database, ours, theirs = asyncio.run(make())
    gateway = Gateway(root, database.dsn("setpoint_gateway"))
    try:
        yield Served(gateway, f"http://127.0.0.1:{gateway.port()}", database, ours, theirs)
    finally:
        code = gateway.stop()
        asyncio.run(pg_server.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    assert code == 0, "".join(gateway.log[-20:])


@pytest.fixture
async def api(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client() as client:
        yield client


@pytest.fixture
async def other(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client(served.theirs) as client:
        yield client


@pytest.fixture
async def w(served: Served) -> AsyncIterator[World]:
    async with world(served.database) as opened:
        yield opened


@pytest.fixture
async def session(api: httpx.AsyncClient) -> str:
    answer = await api.post("/v1/sessions", json={})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
