"""``python -m tests.sim``: many simulated schedules, or one of them again (``make sim``).

It ends with 1 when a schedule fails, when one was too short to count, or when a point was never reached.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.sim.runner import FAILURES_MAX, Tally, one, run
from tests.sim.shrink import shrink
from tests.sim.sometimes import POINTS

_REPLAYED = 5


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many schedules")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--replay", type=int, help="play one seed again, with every check, and tell what is wrong")
    parser.add_argument("--drop", default="", help="entries of the plan to leave out, with commas (f0,c1,c0.3)")
    parser.add_argument("--digest", action="store_true", help="with --replay: print a digest of all logs and end")
    asked = parser.parse_args()
    if asked.replay is not None:
        return _replay(asked.replay, frozenset(filter(None, asked.drop.split(","))), digest=asked.digest)
    began = time.monotonic()
    tally = run(asked.first, asked.seeds, asked.workers)
    report(tally, time.monotonic() - began, asked.workers)
    missed = [point for point in POINTS if not tally.met[point]]
    if missed:
        print(f"never reached: {', '.join(missed)}")
    same = _same_elsewhere(asked.first, min(_REPLAYED, asked.seeds))
    return int(bool(tally.failures or missed or tally.short or not same))


def report(tally: Tally, spent_s: float, workers: int) -> None:
    """Print the figures, what was reached, and each failure, the first ones made smaller."""
    cores = tally.cpu_s or 1e-9
    print(f"{tally.schedules} schedules, {tally.decisions} decisions, {tally.events} events in {spent_s:.0f} s")
    print(f"per core: {tally.schedules / cores:.1f} schedules/s, {tally.decisions / cores:.0f} decisions/s")
    print(f"on {workers} processes: {tally.schedules / spent_s:.1f} schedules/s")
    print(f"too short to count: {tally.short}")
    for point in POINTS:
        print(f"  {tally.met[point]:>8}  {point}")
    print(f"failed: {len(tally.failures)}")
    for (seed, dropped), found in sorted(tally.failures.items(), key=lambda item: item[0][0])[:FAILURES_MAX]:
        smaller, lines = shrink(seed, dropped, found)
        entries = ",".join(sorted(smaller))
        print(f"seed {seed}:")
        for line in lines[:5]:
            print(f"  {line}")
        print(f"  replay: python -m tests.sim --replay {seed}" + (f" --drop {entries}" if entries else ""))
        print(f"  to keep it: a line in tests/sim/seeds.txt: {seed} {entries or '-'}")


def _replay(seed: int, dropped: frozenset[str], *, digest: bool) -> int:
    tally = one(seed, dropped, thorough=True)
    found = tally.failures.get((seed, dropped), [])
    if digest:
        print(f"{seed} {tally.digest}")
        return 0
    for line in found:
        print(line)
    print(f"seed {seed}: {tally.decisions} decisions, {tally.events} events, {len(found)} violations")
    return int(bool(found))


def _same_elsewhere(first: int, count: int) -> bool:
    """I17: another process with another hash seed plays the same schedules to the same logs."""
    for seed in range(first, first + count):
        command = [sys.executable, "-m", "tests.sim", "--replay", str(seed), "--digest"]
        said = {
            subprocess.run(
                command, env=os.environ | {"PYTHONHASHSEED": salt}, check=True, capture_output=True, text=True
            ).stdout
            for salt in ("1", "4242")
        }
        if len(said) > 1:
            print(f"seed {seed}: another hash seed gives another log: {said}")
            return False
    print(f"{count} schedules played again under two hash seeds: the same logs")
    return True


if __name__ == "__main__":
    sys.exit(main())
