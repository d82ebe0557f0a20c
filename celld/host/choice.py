"""Which sandbox host a session gets when no broker answers: power of two choices by load. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sandbox host that can be reached now, with what it said of its load."""

    host: str
    running: int
    slots: int


def choose(candidates: Sequence[Candidate], draws: tuple[int, int], avoid: str = "") -> str | None:
    """Return the less loaded of two drawn candidates; ``avoid`` only when there is no other, None without any.

    ``draws`` are two random non-negative integers.
    """
    others = [one for one in candidates if one.host != avoid] or list(candidates)
    if not others:
        return None
    first = draws[0] % len(others)
    second = (first + 1 + draws[1] % (len(others) - 1)) % len(others) if len(others) > 1 else first
    return min((others[first], others[second]), key=lambda one: one.running / max(1, one.slots)).host
