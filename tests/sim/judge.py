"""The judge of a history: every checker, and which of the points that a run must have seen it contains."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tests.sim import check_commands, check_fold, check_gate, check_guardrail, check_log, check_runs, check_triggers
from tests.sim.play import History
from tests.sim.sometimes import reached
from tests.sim.story import Stories, Story, stories

REFOLDED_EVERY: Final = 4
"""One schedule in so many has its whole log folded anew and held against the projection (I17)."""
SHUFFLED_EVERY: Final = 16
"""One schedule in so many has it folded with other times (I30)."""

_CHECKS: Final = (check_log, check_runs, check_gate, check_guardrail, check_triggers)


def violations(told: Stories, *, refold: bool = True, shuffle: bool = True) -> list[str]:
    """Return every violation of every invariant; nothing found is an empty list."""
    found = [f"{check_commands.__name__.split('.')[-1]}: {line}" for line in check_commands.check(told)]
    for story in told.sessions:
        found += [f"{story.session[-2:]} {line}" for line in _of_session(told, story, refold, shuffle)]
    return found


def _of_session(told: Stories, story: Story, refold: bool, shuffle: bool) -> list[str]:
    found = [f"{module.__name__.split('.')[-1]}: {line}" for module in _CHECKS for line in module.check(story)]
    found += [f"check_fold: {line}" for line in check_fold.rest(story, story.session in told.owners)]
    if refold:
        found += [f"check_fold: {line}" for line in check_fold.projection(story)]
    if shuffle:
        found += [f"check_fold: {line}" for line in check_fold.times(story)]
    return found


def judge(history: History, *, thorough: bool = False) -> list[str]:
    """Return what is wrong with a history, by the schedule's share of the dear checks or (``thorough``) by all."""
    seed = history.plan.seed
    return violations(
        stories(history),
        refold=thorough or seed % REFOLDED_EVERY == 0,
        shuffle=thorough or seed % SHUFFLED_EVERY == 0,
    )


def sometimes(history: History) -> Counter[str]:
    """Count the points that a run must have seen."""
    return reached(stories(history), history.met)
