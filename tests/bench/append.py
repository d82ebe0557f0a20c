"""Events a second through the real path of a cell, beside pgbench inserting single rows on the same server.

64 sessions, each with a cell of its own and hundreds of commands in its inbox: read, decided, committed, folded, told,
one after the other in each session, with acknowledgement, result and projection. The inbox is filled by ``enqueue``
itself while the cell host is frozen, so that neither gateway nor clients take part. pgbench then inserts rows of the
same size into a table of the same shape from 8 connections: what Postgres does with one event a transaction.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from migrations import named
from migrations.door import connect
from tests.acceptance.harness import World, world
from tests.bench.pgbench import Inserted, Pgbench
from tests.bench.processes import children, cpu_s
from tests.bench.readers import pause
from tests.bench.report import Report, middle

SESSIONS, CLIENTS = 64, 8
_COMMANDS = 200
_ROUNDS = 3
_PGBENCH_S = 5
_WAIT_S = 120.0
_LOOK_S = 0.2
_NAMES = "bench-%"
_SQL = named.beside(__file__)
BAR = f"as many events a second as pgbench inserts with {CLIENTS} clients, everything else included"


@dataclass(frozen=True)
class _Drained:
    """What a full inbox became: events, commits, seconds from the first event to the last, CPU seconds by part."""

    events: int
    commits: int
    span_s: float
    data_bytes: int
    cpu: dict[str, float]

    @property
    def per_s(self) -> float:
        """Return the events a second."""
        return self.events / self.span_s


def run(rounds: int = _ROUNDS, commands: int = _COMMANDS) -> Iterator[Report]:
    """Drain full inboxes and let pgbench insert, in turns, on one stack."""
    with world(extra={"celld": {"SETPOINT_HIBERNATE_AFTER": "1h", "SETPOINT_LEASE_TTL": "60s"}}) as stack:
        pgbench = Pgbench(stack)
        pgbench.prepare()
        for n in range(SESSIONS):
            stack.wait_type(stack.session(f"bench-{n}"), "session.started")
        ours: list[_Drained] = []
        theirs: list[Inserted] = []
        for _ in range(rounds):
            ours.append(asyncio.run(drain(stack, commands)))
            theirs.append(pgbench.insert(CLIENTS, _PGBENCH_S, ours[-1].data_bytes))
    yield _report(ours, theirs)


async def drain(stack: World, commands: int) -> _Drained:
    """Fill the inboxes of all sessions and watch them become empty."""
    cluster = stack.stack.cluster
    assert cluster is not None
    commits = _commits(stack)
    async with connect(await cluster.ensure_database("setpoint")) as connection:
        stack.signal("celld", signal.SIGSTOP)
        try:
            filled = await connection.fetchval(_SQL["fill"], _NAMES, commands)
            begun, cpu = time.time(), _cpu(stack)
        finally:
            stack.signal("celld", signal.SIGCONT)
        assert filled == SESSIONS * commands, f"{filled} commands were taken"
        async with asyncio.timeout(_WAIT_S):
            while await connection.fetchval(_SQL["waiting"], _NAMES):
                await pause(_LOOK_S)
        used = {part: spent - cpu[part] for part, spent in _cpu(stack).items()}
        written = await connection.fetchrow(_SQL["written"], begun)
    assert written is not None and written["sessions"] == SESSIONS, "a session wrote nothing"
    return _Drained(written["events"], _commits(stack) - commits, written["span_s"], round(written["data_bytes"]), used)


def _commits(stack: World) -> int:
    """Return how many batches the cell host has committed."""
    text = httpx.get(f"http://127.0.0.1:{stack.stack.ports['celld']}/metrics", trust_env=False).text
    found = re.search(r"^setpoint_celld_batch_items_count (\S+)$", text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def _cpu(stack: World) -> dict[str, float]:
    """Return the CPU seconds of the cell host, its cells and Postgres so far."""
    celld, cluster = stack.pid("celld"), stack.stack.cluster
    assert cluster is not None and cluster.pid is not None
    zygotes = children(celld)
    cells = cpu_s(zygotes)
    return {"celld": cpu_s([celld]) - cells, "cells": cells, "postgres": cpu_s([cluster.pid])}


def _report(ours: list[_Drained], theirs: list[Inserted]) -> Report:
    mine, peer = middle([one.per_s for one in ours]), middle([one.per_s for one in theirs])
    per_commit = middle([one.events / one.commits for one in ours])
    commands_per_commit = per_commit * SESSIONS * _COMMANDS / ours[-1].events
    ratio = mine / peer
    cpu = {part: middle([one.cpu[part] / one.events * 1e6 for one in ours]) for part in ours[0].cpu}
    peer_cpu = {part: middle([one.cpu_us[part] for one in theirs]) for part in theirs[0].cpu_us}
    rows = (
        ("events a second", f"{mine:,.0f}", f"{peer:,.0f}", f"{ratio:.2f}"),
        ("events a commit", f"{per_commit:.1f}", "1", ""),
        ("commands a commit", f"{commands_per_commit:.1f}", "1", ""),
        ("median of one transaction, ms", "", f"{middle([one.p50_ms for one in theirs]):.2f}", ""),
        *(_part(part, cpu.get(part), peer_cpu.get(part)) for part in (*cpu, "pgbench")),
        ("CPU us an event, all", f"{sum(cpu.values()):.0f}", f"{sum(peer_cpu.values()):.0f}", ""),
    )
    figures: dict[str, Any] = {
        "events_per_s": round(mine),
        "events_per_s_all": [round(one.per_s) for one in ours],
        "events_per_commit": round(per_commit, 1),
        "pgbench_per_s": round(peer),
        "pgbench_per_s_all": [round(one.per_s) for one in theirs],
        "sessions": SESSIONS,
        "data_bytes": ours[-1].data_bytes,
        "cpu_us_per_event": {part: round(spent, 1) for part, spent in cpu.items()},
        "pgbench_cpu_us_per_event": {part: round(spent, 1) for part, spent in peer_cpu.items()},
    }
    notes = (f"{ours[-1].events} events of {ours[-1].data_bytes} bytes of data a round, {len(ours)} rounds in turns",)
    return Report(
        "append", ("", "setpoint", "pgbench", "ratio"), rows, figures, round(ratio, 3), BAR, ratio >= 1, notes
    )


def _part(part: str, ours_us: float | None, theirs_us: float | None) -> tuple[str, ...]:
    cells = ("" if spent is None else f"{spent:.0f}" for spent in (ours_us, theirs_us))
    return f"CPU us an event: {part}", *cells, ""
