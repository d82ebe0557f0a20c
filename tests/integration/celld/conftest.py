"""``w``: a world of real cell hosts on a fresh database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.celld.harness import Database, World, world


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    root = Path(tempfile.mkdtemp(prefix="setpoint-celld-"))
    root.chmod(0o711)  # sandboxes run under other accounts and pass through
    try:
        async with world(database, root) as opened:
            yield opened
    finally:
        shutil.rmtree(root, ignore_errors=True)
