"""A failing schedule made smaller: entries of its plan are left out for as long as it still fails.

Faults go first, then whole clients, then single acts; in halves, then one by one. What is left replays by the seed and
the entries left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from tests.sim.plan import SLEEP, plan
from tests.sim.runner import Tally, one

TRIES_MAX: Final = 300


def kind_of(found: list[str]) -> str:
    """Return what kind of thing is wrong, so that a smaller schedule fails for the same reason."""
    return found[0].split(": ")[0].removeprefix("01 ").removeprefix("02 ").removeprefix("03 ")


class Verdict(Protocol):
    """How a schedule is played and judged (``runner.one``)."""

    def __call__(self, seed: int, dropped: frozenset[str], *, thorough: bool) -> Tally:
        """Return what came of it."""


def shrink(
    seed: int, dropped: frozenset[str], found: list[str], verdict: Verdict = one
) -> tuple[frozenset[str], list[str]]:
    """Return the largest set of entries found that may be left out, and what is wrong without them."""
    wanted, last, tries = kind_of(found), found, 0

    def fails(candidate: frozenset[str]) -> bool:
        nonlocal last, tries
        tries += 1
        if tries > TRIES_MAX:
            return False
        failures = verdict(seed, candidate, thorough=True).failures.get((seed, candidate))
        if failures is None or kind_of(failures) != wanted:
            return False
        last = failures
        return True

    drawn = plan(seed)
    groups = (
        [SLEEP] if drawn.quiet_s is not None else [],
        [fault.label for fault in drawn.faults],
        list(drawn.clients),
        [act.label for acts in drawn.clients.values() for act in acts],
    )
    for group in groups:
        group = [label for label in group if label.split(".")[0] not in dropped]
        dropped = _less([label for label in group if label not in dropped], dropped, fails)
    return dropped, last


def _less(labels: list[str], dropped: frozenset[str], fails: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """Leave out as many of these labels as can be: parts of falling size."""
    size = max(1, len(labels) // 2)
    while labels:
        kept: list[str] = []
        for start in range(0, len(labels), size):
            part = labels[start : start + size]
            if fails(dropped | set(part)):
                dropped |= frozenset(part)
            else:
                kept += part
        labels = kept
        if size == 1:
            return dropped
        size = max(1, size // 2)
    return dropped
