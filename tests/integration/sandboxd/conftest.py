"""One sandboxd per module for what leaves it as it was; a fresh one for tests that kill it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sandboxd.harness import Sandboxd


@pytest.fixture(scope="module")
def host() -> Iterator[Sandboxd]:
    """A running sandboxd, shared by the tests of a module: each uses a session of its own."""
    sandboxd = Sandboxd()
    try:
        sandboxd.start()
        yield sandboxd
    finally:
        sandboxd.close()


@pytest.fixture
def fresh() -> Iterator[Sandboxd]:
    """A sandboxd of the test's own, not started yet."""
    sandboxd = Sandboxd()
    try:
        yield sandboxd
    finally:
        sandboxd.close()
