"""How far a drain has come, and what is said to hold it up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.drain import others, progress
from broker.store import HostRow, Left

CELL = HostRow("cell", "c1", "i", "ready", "c1:1", "key", {}, 1.0, 8.0, 2, "drain")
BOX = replace(CELL, role="sandbox", host="b1", expires_in_s=None, sessions=5)
ONE = Left("t", "s1", "one", 0, (), False)


def beside(row: HostRow, **more: Any) -> HostRow:
    return replace(row, host="other", ordered="serve", **more)


def test_what_can_leave_waits_for_its_turn() -> None:
    now = progress(CELL, [CELL, beside(CELL)], 1, [ONE])
    assert (now["left"], now["asleep"], now["done"], now["why"]) == (1, 0, False, "")
    assert now["sessions"] == [
        {"tenant_id": "t", "session_id": "s1", "name": "one", "why": now["sessions"][0]["why"]}
    ] and now["sessions"][0]["why"].startswith("its turn")


def test_nothing_left_is_done_and_who_sleeps_is_counted() -> None:
    now = progress(BOX, [BOX], 0, [])
    assert (now["done"], now["asleep"], now["why"]) == (True, 5, "")


@pytest.mark.parametrize(
    "other",
    [
        beside(CELL, state="fenced"),
        beside(CELL, expires_in_s=-1.0),
        replace(CELL, host="other", ordered="cordon"),
        beside(BOX),
    ],
)
def test_without_another_that_takes_them_all_sessions_stay_and_it_is_said(other: HostRow) -> None:
    now = progress(CELL, [CELL, other], 1, [ONE])
    assert now["why"].startswith("no other cell host takes sessions")
    assert [one["why"] for one in now["sessions"]] == [now["why"]]
    assert others(CELL, [CELL, other]) == 0


def test_a_host_that_is_not_drained_says_so() -> None:
    row = replace(CELL, ordered="serve")
    assert "not being drained" in progress(row, [row, beside(CELL)], 1, [ONE])["why"]


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (replace(ONE, runs=("a", "b"), unended=1), "a run is open: a, b"),
        (replace(ONE, unended=1), "a command has not ended"),
        (ONE, "its turn"),
        (replace(ONE, failed=True, unended=1), "it has failed"),
    ],
)
def test_a_session_with_its_workspace_on_a_drained_host_says_what_it_waits_for(left: Left, said: str) -> None:
    now = progress(BOX, [BOX, beside(BOX)], int(not left.failed), [left])
    assert now["sessions"][0]["why"].startswith(said)
    assert now["done"] is left.failed
    assert now["asleep"] == 4
