"""How a batch is taken and cut."""

from __future__ import annotations

from collections import deque

from celld.plane.commit import halves, take_batch
from setpoint.contracts import limits


def taken(waiting: deque[int]) -> list[int]:
    """Take a batch of items that are their own sizes."""
    return take_batch(waiting, lambda size: size)


def test_a_batch_has_at_most_sixty_four_sessions() -> None:
    waiting = deque([1] * 100)
    assert len(taken(waiting)) == limits.BATCH_SESSIONS_MAX
    assert len(waiting) == 100 - limits.BATCH_SESSIONS_MAX


def test_a_batch_stops_before_its_bytes_are_too_many() -> None:
    half = limits.BATCH_BYTES_MAX // 2
    waiting = deque([half, half, 1])
    assert len(taken(waiting)) == 2
    assert len(taken(waiting)) == 1


def test_an_item_larger_than_a_batch_goes_alone() -> None:
    waiting = deque([limits.BATCH_BYTES_MAX + 1, 1])
    assert len(taken(waiting)) == 1
    assert len(taken(waiting)) == 1
    assert taken(waiting) == []


def test_halving_finds_one_of_sixty_four_in_at_most_thirteen_calls() -> None:
    def calls(batch: list[int], guilty: int) -> int:
        if guilty not in batch or len(batch) == 1:
            return 1
        return 1 + sum(calls(half, guilty) for half in halves(batch))

    assert max(calls(list(range(64)), guilty) for guilty in range(64)) == 13


def test_halves_keep_the_order_and_lose_nothing() -> None:
    waiting = [1, 2, 3]
    first, second = halves(waiting)
    assert [*first, *second] == waiting and first and second
