"""``python -m tests.bench [NAME]``: run a bench and print what it found; without a name list them.

``make bench BENCH=NAME`` calls this. Results go to stdout only. Exit 1 when a bar does not hold, 2 for a wrong name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from tests.bench import append, cells, converge, core, failover, hibernate, latency, sse
from tests.bench.report import Report, show

BENCHES: dict[str, tuple[str, Callable[[], Iterator[Report]]]] = {
    "append": ("events a second through 64 cells into the log, beside pgbench on the same server", append.run),
    "cells": ("1, 4 and 16 sessions in a process: CPU, memory, and how soon a sleeping session wakes", cells.run),
    "core": ("cost of a decision against the size of the session, and of a replay", core.run),
    "converge": ("a chain, a fan and 500 assets to Ready, through the whole stack, beside nagi-cli", converge.run),
    "failover": ("cell hosts killed and frozen, Postgres killed: how long sessions stand still", failover.run),
    "hibernate": ("10,000 sessions that sleep on one cell host, and how soon 100 of them wake", hibernate.run),
    "latency": ("a command until its acceptance is read from the stream, idle and with 64 busy sessions", latency.run),
    "sse": ("500 readers of one gateway, the gateway killed under them, and 100 that hardly read", sse.run),
}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("name", nargs="?", default="", help="which bench; none: list them; all: every one")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    chosen = parser.parse_args()
    if not chosen.name:
        for name, (said, _) in BENCHES.items():
            print(f"  make bench BENCH={name:<10} {said}")
        return 0
    names = list(BENCHES) if chosen.name == "all" else [chosen.name]
    if not set(names) <= set(BENCHES):
        print(f"there is no bench {chosen.name!r}; there are: {', '.join(BENCHES)}, all", file=sys.stderr)
        return 2
    held = True
    for name in names:
        for report in BENCHES[name][1]():
            show(report, as_json=chosen.output == "json")
            held = held and report.holds
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
