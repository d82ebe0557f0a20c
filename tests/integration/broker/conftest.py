"""One broker per test on a fresh migrated database, and the database as the other roles see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from setpoint.contracts.hint import Role
from setpoint.identity import Identity
from tests.conftest import PgDatabase
from tests.integration.broker.harness import Broker, running_broker
from tests.integration.protocol.world import World, world

NewHost = Callable[[str, Role], Identity]


@pytest.fixture
async def w(database: PgDatabase) -> AsyncIterator[World]:
    async with world(database) as opened:
        yield opened


@pytest.fixture
async def broker(database: PgDatabase, tmp_path: Path) -> AsyncIterator[Broker]:
    async with running_broker(database.dsn("setpoint_broker"), tmp_path / "broker") as running:
        yield running


@pytest.fixture
def new_host(tmp_path: Path) -> NewHost:
    """Make the identity of a host; the same name and a new call are a new key."""
    made: list[Path] = []

    def make(name: str, role: Role) -> Identity:
        made.append(tmp_path / f"host-{len(made)}")
        return Identity(made[-1], name, role)

    return make
