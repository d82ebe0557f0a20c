"""What counts as converged, and what only a person can bring on."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.cli.wait import is_settled, is_stuck


@pytest.mark.parametrize(
    ("asset", "settled"),
    [
        ({"state": "ready"}, True),
        ({"state": "ready", "pending": {"look": False, "sync": "none", "verify": None}}, True),
        ({"state": "ready", "pending": {"look": True}}, False),
        ({"state": "ready", "pending": {"sync": "direct"}}, False),
        ({"state": "syncing"}, False),
        ({"state": "drifted"}, False),
    ],
)
def test_settled_means_ready_with_nothing_owed(asset: dict[str, Any], settled: bool) -> None:
    assert is_settled(asset) is settled


def test_only_a_suspended_asset_is_stuck() -> None:
    assert is_stuck({"state": "suspended"})
    assert not is_stuck({"state": "drifted"})
