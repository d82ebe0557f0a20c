"""Many schedules on all cores: played, judged, counted; what fails is made smaller and told with the command to replay.

Called by ``__main__`` and by the tests. Each worker takes every n-th seed, so that a run is the same whoever is quick.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Final

import msgspec

from setpoint.contracts.codec import sha256_hex
from tests.sim.judge import judge, sometimes
from tests.sim.plan import FAULTS_MIN, plan
from tests.sim.play import DECISIONS_MIN, play

FAILURES_MAX: Final = 20
_GC_EVERY: Final = 20
_SHARE: Final = 50


@dataclass(slots=True)
class Tally:
    """What came of some schedules. ``failures``: seed and entries left out -> what is wrong."""

    schedules: int = 0
    decisions: int = 0
    events: int = 0
    cpu_s: float = 0.0
    short: int = 0
    met: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[int, frozenset[str]], list[str]] = field(default_factory=dict)
    digest: str = ""

    def add(self, other: Tally) -> None:
        """Take another's figures in."""
        self.schedules += other.schedules
        self.decisions += other.decisions
        self.events += other.events
        self.cpu_s += other.cpu_s
        self.short += other.short
        self.met += other.met
        self.failures |= other.failures


def one(seed: int, dropped: frozenset[str] = frozenset(), *, thorough: bool = False) -> Tally:
    """Play one schedule and judge it. ``thorough``: with every dear check, and no memory of what was folded."""
    began, tally = time.process_time(), Tally(schedules=1)
    try:
        history = play(plan(seed, dropped), refold_every=1 if thorough else 4)
        found = judge(history, thorough=thorough)
    except Exception as error:  # noqa: BLE001  # whatever the core or the model raises is what is looked for
        tally.failures[seed, dropped] = [f"{type(error).__name__}: {error}"[:500]]
    else:
        tally.decisions, tally.met = history.decisions, sometimes(history)
        if thorough:
            tally.digest = sha256_hex(msgspec.msgpack.encode(list(history.tables.events.values())))
        tally.events = sum(map(len, history.tables.events.values()))
        tally.short = int(
            history.decisions < DECISIONS_MIN or history.faults < min(FAULTS_MIN, len(history.plan.faults))
        )
        if found:
            tally.failures[seed, dropped] = found
    tally.cpu_s = time.process_time() - began
    return tally


def several(seeds: Iterable[int]) -> Iterator[Tally]:
    """Play schedules one after the other; yields after every few of them."""
    gc.disable()  # a world is full of cycles, and is let go of whole
    gc.freeze()  # what is there before any world stays
    try:
        tally = Tally()
        for count, seed in enumerate(seeds, 1):
            tally.add(one(seed))
            if count % _GC_EVERY == 0:
                gc.collect()
            if tally.schedules >= _SHARE:
                yield tally
                tally = Tally()
        yield tally
    finally:
        gc.unfreeze()
        gc.enable()


def run(first: int, count: int, workers: int) -> Tally:
    """Play ``count`` schedules from a seed on, over some processes; tells of its progress on stderr."""
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    processes = [
        context.Process(target=_work, args=(queue, range(first + n, first + count, workers))) for n in range(workers)
    ]
    for process in processes:
        process.start()
    total, began, left = Tally(), time.monotonic(), len(processes)
    while left:
        try:
            tally = queue.get(timeout=5.0)
        except Empty:
            if any(process.exitcode not in (None, 0) for process in processes):
                raise RuntimeError("a worker of the simulation died") from None
            continue
        if tally is None:
            left -= 1
            continue
        total.add(tally)
        for seed, _ in tally.failures:
            print(f"\nseed {seed} failed", file=sys.stderr, flush=True)
        spent_s = time.monotonic() - began
        print(
            f"\r{total.schedules:>8} of {count}  {total.schedules / spent_s:6.1f}/s  {len(total.failures)} failed",
            end="",
            file=sys.stderr,
            flush=True,
        )
    print(file=sys.stderr)
    for process in processes:
        process.join()
    return total


def _work(queue: Any, seeds: range) -> None:
    for tally in several(seeds):
        queue.put(tally)
    queue.put(None)
