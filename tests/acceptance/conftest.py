"""Fixtures of the black-box tests: one running stack for all tests that kill nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.harness import World, world


@pytest.fixture(scope="session")
def stack() -> Iterator[World]:
    """A stack of one host each, shared by every test that leaves it as it found it."""
    with world() as made:
        yield made
