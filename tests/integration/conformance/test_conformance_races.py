"""Calls that meet in the real database end as if one had come after the other in the model.

That is what lets the model run each call whole. Three calls are drawn against one state and let loose together while a
third party holds all heads, so that they overlap where they wait. Then some order of them on the model must
give the same answers and the same rows. ``host_register`` and ``host_dead`` may work on the owners of before.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from random import Random
from typing import Any, Final

import pytest

from migrations.outcome import Retry
from tests.integration.conformance.backend import Model, Real
from tests.integration.conformance.programs import Author, Call
from tests.integration.conformance.rows import Dump
from tests.sim.postgres import lease

RACES: Final = 80
RACERS: Final = 3
_SNAPSHOTS: Final = {"host_register": lease.sessions_before, "host_dead": lease.sessions_of}
_WRITERS: Final = frozenset(
    {
        *("create_session", "enqueue", "append_batch", "acquire", "release", "break_lock", "snapshot_write"),
        *("host_register", "host_renew", "host_dead"),
    }
)
"""Not claim_wakes, which skips rows that somebody holds, and not restored, which runs before any daemon does."""


@pytest.mark.asyncio(loop_scope="session")
async def test_calls_that_meet_end_as_in_some_order(opened: Real) -> None:
    met = 0
    for seed in range(RACES):
        author = Author(Random(f"race {seed}"))
        prefix = author.write(calls=15, sessions=2)
        racers = _racers(author, seed)
        await opened.empty()
        for name, args in prefix:
            await (opened.advance(*args) if name == "advance" else opened.call(name, *args))
        answers, waited = await _race(opened, racers)
        met += waited
        dump = await opened.dump()
        found = any(end == (answers, dump) for end in _orders(author.model, racers, answers))
        assert found, f"race {seed}: {[*zip(racers, answers, strict=True)]} has no order, after {prefix}"
    assert met >= RACES, "few calls have met"


def _racers(author: Author, seed: int) -> list[Call]:
    """Draw calls that know nothing of each other."""
    racers: list[Call] = []
    for n in range(RACERS):
        alone = copy.deepcopy(author)
        alone.random.seed(f"racer {seed} {n}")
        at = len(alone.calls)
        while not (drawn := [call for call in alone.calls[at:] if call[0] in _WRITERS]):
            alone.step()
        racers.append(drawn[0])
    return racers


async def _race(opened: Real, racers: Sequence[Call]) -> tuple[list[Any], int]:
    """Let the calls loose while all heads are held; their answers, and how many waited for each other."""

    async def run(name: str, *args: Any) -> Any:
        try:
            return await opened.call(name, *args)
        except Retry:
            return Retry

    async with opened.holding_heads():
        tasks = [asyncio.create_task(run(name, *args)) for name, args in racers]
        waiting = 0
        async with asyncio.timeout(10):
            while waiting + sum(task.done() for task in tasks) < len(tasks):
                waiting = await opened.waiting()
    return [await task for task in tasks], waiting


def _orders(model: Model, racers: Sequence[Call], heard: Sequence[Any]) -> Iterator[tuple[list[Any], Dump]]:
    """Yield the end of every order on the model; a call that was undone for a deadlock is in none."""
    ran = [at for at, answer in enumerate(heard) if answer is not Retry]
    stale = [at for at in ran if racers[at][0] in _SNAPSHOTS]
    for order, sees in product(permutations(ran), product((False, True), repeat=len(stale))):
        trial, answers = copy.deepcopy(model), list(heard)
        seen = {
            at: _SNAPSHOTS[racers[at][0]](model.wire.db, *racers[at][1][:2])
            for at, is_stale in zip(stale, sees, strict=True)
            if is_stale
        }
        for at in order:
            name, args = racers[at]
            more = {"seen": seen[at]} if at in seen else {}
            answers[at] = trial.ask(name, *args, **more)
        yield answers, trial.rows()
