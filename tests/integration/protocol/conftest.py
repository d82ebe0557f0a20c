"""The protocol tests share one way to the database: ``w``, the real roles on a fresh migrated copy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.protocol.world import Database, World, world


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    async with world(database) as opened:
        yield opened
