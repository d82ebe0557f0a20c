"""Every case of this folder runs against the model and against the real database, through ``b``."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.conftest import PgDatabase, PgServer
from tests.integration.conformance.backend import Model, Real, give_clock, real
from tests.integration.conformance.bench import Bench
from tests.postgres_servers import settle


@pytest.fixture(scope="session")
def clocked(pg_server: PgServer, pg_template: str) -> Iterator[PgDatabase]:
    """One migrated database for all cases of this process, with a clock of the test."""
    name = f"setpoint_conformance_{uuid.uuid4().hex[:12]}"
    database = PgDatabase(pg_server, name)

    async def make() -> None:
        await pg_server.run(f'CREATE DATABASE "{name}" TEMPLATE "{pg_template}"')
        await give_clock(database.admin_dsn)

    settle(make())
    yield database
    settle(pg_server.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def opened(clocked: PgDatabase) -> AsyncIterator[Real]:
    """The real back end; its connections are those of the whole run."""
    async with real(clocked) as backend:
        yield backend


@pytest_asyncio.fixture(params=["model", "real"], loop_scope="session")
async def b(request: pytest.FixtureRequest, opened: Real) -> AsyncIterator[Bench]:
    """A back end to write a case for. What a case does to the real one is done to the model, too, and compared."""
    if request.param == "model":
        yield Bench(Model())
        return
    await opened.empty()
    bench = Bench(opened)
    yield bench
    if bench.is_replayable:
        await compare(bench)


async def compare(bench: Bench) -> None:
    """Repeat the calls of a case on the model: every column of every answer, and every row in the end, is the same."""
    model = Model()
    for name, args, answer in bench.calls:
        if name == "advance":
            await model.advance(*args)
        else:
            assert model.ask(name, *args) == answer, f"{name}{args}"
    assert await model.dump() == await bench.db.dump()
