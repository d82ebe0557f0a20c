"""What sharing a process is worth: 1, 4 and 16 sessions of one tenant in each, on a stack of its own.

CPU and events a second of 64 sessions that work off their inboxes, as in ``append``; the memory of 64 and of 256 cells
that are awake, with what they share counted in parts (PSS); and a sleeping session from its 202 to its first event,
while those that woke before it are awake. No bar: it is what the default of SETPOINT_CELLS_PER_PROCESS rests on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.harness import World, world
from tests.bench import append, hibernate
from tests.bench.processes import children
from tests.bench.report import Report, middle

PER_PROCESS = (1, 4, 16)
_MANY = 256
_WOKEN = 60
_COMMANDS = 200
_ROUNDS = 2


@dataclass(frozen=True)
class _Found:
    """The figures of one number: medians, CPU in us an event, memory of all cells in MiB."""

    per_s: float
    cells_us: float
    celld_us: float
    few_mib: float
    many_mib: float
    processes: int
    wake_ms: float
    wake_logged_ms: float


def run(counts: tuple[int, ...] = PER_PROCESS, many: int = _MANY, woken: int = _WOKEN) -> Iterator[Report]:
    """Measure each number on stacks of its own."""
    yield _report({count: _measure(count, many, woken) for count in counts}, many)


def _measure(count: int, many: int, woken: int) -> _Found:
    own = {"SETPOINT_CELLS_PER_PROCESS": str(count), "SETPOINT_LEASE_TTL": "60s"}
    with world(extra={"celld": own | {"SETPOINT_HIBERNATE_AFTER": "1h"}}) as stack:
        _fill(stack, append.SESSIONS)
        few_mib = _pss_mib(stack)
        drained = [asyncio.run(append.drain(stack, _COMMANDS)) for _ in range(_ROUNDS)]
        _fill(stack, many - append.SESSIONS, "more")
        many_mib, processes = _pss_mib(stack), len(hibernate.cells(stack))
    with world(extra={"celld": own | {"SETPOINT_HIBERNATE_AFTER": "3s"}}) as stack:
        sessions = [stack.session(f"wake-{n}") for n in range(woken)]
        stack.until(lambda: not hibernate.cells(stack), "all sessions sleep", within_s=120.0)
        seen, logged = hibernate.wake_some(stack, sessions)
    return _Found(
        per_s=middle([one.per_s for one in drained]),
        cells_us=middle([one.cpu["cells"] / one.events * 1e6 for one in drained]),
        celld_us=middle([one.cpu["celld"] / one.events * 1e6 for one in drained]),
        few_mib=few_mib,
        many_mib=many_mib,
        processes=processes,
        wake_ms=middle(seen),
        wake_logged_ms=middle(logged),
    )


def _fill(stack: World, count: int, name: str = "bench") -> None:
    """Create sessions and wait until each has a cell."""
    for session in [stack.session(f"{name}-{n}") for n in range(count)]:
        stack.wait_type(session, "session.started")


def _pss_mib(stack: World) -> float:
    """Return the memory of all cells and their zygote, pages that they share counted in parts, in MiB."""
    pids = [*children(stack.pid("celld")), *hibernate.cells(stack)]
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in pids]
    return sum(int(line.split()[1]) for lines in rollups for line in lines if line.startswith("Pss:")) / 1024


def _report(found: dict[int, _Found], many: int) -> Report:
    few = append.SESSIONS
    lines = (
        ("events a second", "{:,.0f}", "per_s"),
        ("CPU us an event, cells", "{:.1f}", "cells_us"),
        ("CPU us an event, celld", "{:.1f}", "celld_us"),
        (f"MiB of {few} cells", "{:.0f}", "few_mib"),
        (f"MiB of {many} cells", "{:.0f}", "many_mib"),
        (f"processes of {many} cells", "{:d}", "processes"),
        ("wake, as a client sees it, ms p50", "{:.0f}", "wake_ms"),
        ("wake, by the log's time, ms p50", "{:.0f}", "wake_logged_ms"),
    )
    rows = tuple((said, *(form.format(getattr(one, name)) for one in found.values())) for said, form, name in lines)
    figures = {
        f"{name}_at_{count}": round(getattr(one, name), 1) for count, one in found.items() for _, _, name in lines
    }
    return Report("cells", ("sessions in a process", *map(str, found)), rows, figures)
