"""Ten thousand sessions that sleep on one cell host: what they cost, and how soon a hundred of them wake.

Real daemons. Sessions are created one by one and sleep by themselves. A wake counts from when the client has its 202 to
when its event stream, which has been open since before, brings the first event; the log's own time of that event is
beside it. CPU and memory are those of the cell host's process tree, while nobody asks for anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Queue
from random import Random
from statistics import quantiles

from setpoint.client.api import Client
from setpoint.client.sse import follow
from tests.acceptance.harness import World, world
from tests.bench.processes import children, cpu_s
from tests.bench.report import Report, middle

SESSIONS, WOKEN = 10_000, 100
_CREATORS = 8
_SPAN_S = 30.0
_LIMIT_S = 1800.0
_CPU_MAX, _WAKE_MS_MAX = 0.01, 50.0
_BAR = f"no process per session, CPU under {_CPU_MAX:.0%} of a core, wake p50 under {_WAKE_MS_MAX:g} ms"


@dataclass(frozen=True)
class _Asleep:
    """What the sleeping sessions cost: processes of sessions, MiB, and share of one core."""

    cells: int
    celld_mib: float
    postgres_share: float
    share: float


def run(count: int = SESSIONS, woken: int = WOKEN) -> Iterator[Report]:
    """Create the sessions, watch them sleep, wake some of them one after the other."""
    with world(extra={"celld": {"SETPOINT_HIBERNATE_AFTER": "1s"}}) as stack:
        empty_mib = _mib(stack.pid("celld"))
        begun = time.monotonic()
        sessions = _create(stack, count)
        created_s = time.monotonic() - begun
        stack.until(lambda: not cells(stack), "all sessions sleep", within_s=_LIMIT_S)
        asleep = _watch(stack)
        seen, logged = wake_some(stack, Random(1).sample(sessions, woken))
    yield _report(count, created_s, empty_mib, asleep, seen, logged)


def _create(stack: World, count: int) -> list[str]:
    clients: Queue[Client] = Queue()
    for _ in range(_CREATORS):
        clients.put(_client(stack))

    def create(_: int) -> str:
        client = clients.get()
        try:
            return str(client.create_session()["id"])
        finally:
            clients.put(client)

    with ThreadPoolExecutor(_CREATORS) as pool:
        found = list(pool.map(create, range(count)))
    while not clients.empty():
        clients.get().close()
    return found


def cells(stack: World) -> list[int]:
    """Return the processes of sessions: whatever the zygote has forked."""
    return [cell for zygote in children(stack.pid("celld")) for cell in children(zygote)]


def _watch(stack: World) -> _Asleep:
    cluster = stack.stack.cluster
    assert cluster is not None and cluster.pid is not None, "the stack has a Postgres of its own"
    celld, postgres = stack.pid("celld"), cluster.pid
    before, begun = (cpu_s([celld]), cpu_s([postgres])), time.monotonic()
    threading.Event().wait(_SPAN_S)
    span_s = time.monotonic() - begun
    used = [now - then for now, then in zip((cpu_s([celld]), cpu_s([postgres])), before, strict=True)]
    return _Asleep(len(cells(stack)), _mib(celld), used[1] / span_s, used[0] / span_s)


def wake_some(stack: World, sessions: list[str]) -> tuple[list[float], list[float]]:
    """Return how many milliseconds after the 202 the first event was seen, and was written by the log's own time."""
    seen, logged = [], []
    api = _client(stack)
    for session in sessions:
        reader = _Reader(stack, session, int(api.session(session)["head_seq"]))
        api.command(session, "halt", {"reason": "bench"})
        answered_s, answered_at = time.monotonic(), time.time()
        arrived_s, at = reader.first()
        seen.append((arrived_s - answered_s) * 1000)
        logged.append((datetime.fromisoformat(at).timestamp() - answered_at) * 1000)
    api.close()
    return seen, logged


class _Reader:
    """An event stream of one session that is open: it has brought the last event already."""

    def __init__(self, stack: World, session: str, head_seq: int) -> None:
        self._first: Queue[tuple[float, str]] = Queue()
        self._opened = threading.Event()
        self._client = _client(stack)
        self._work = threading.Thread(target=self._read, args=(session, head_seq), daemon=True)
        self._work.start()
        assert self._opened.wait(_LIMIT_S), "the stream did not open"

    def first(self) -> tuple[float, str]:
        """Wait for the next event: when it came (monotonic), and when the log says that it was written."""
        found = self._first.get(timeout=_LIMIT_S)
        self._work.join()
        self._client.close()
        return found

    def _read(self, session: str, head_seq: int) -> None:
        for event in follow(self._client, session, head_seq - 1, deadline_s=time.monotonic() + _LIMIT_S):
            if event["seq"] > head_seq:
                self._first.put((time.monotonic(), event["at"]))
                return
            self._opened.set()


def _client(stack: World) -> Client:
    return Client(stack.stack.server, stack.stack.api_key)


def _mib(root: int) -> float:
    """Return the memory of a process tree that no other process shares, in MiB."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children(pid)
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
    return total / 1024


def _report(
    count: int, created_s: float, empty_mib: float, asleep: _Asleep, seen: list[float], logged: list[float]
) -> Report:
    p50, p99 = middle(seen), quantiles(seen, n=100)[98]
    holds = asleep.cells == 0 and asleep.share < _CPU_MAX and p50 < _WAKE_MS_MAX
    rows = (
        ("created and asleep", str(count), f"{count / created_s:.0f} created a second"),
        ("processes of sessions", str(asleep.cells), ""),
        ("memory of the cell host", f"{asleep.celld_mib:.0f} MiB", f"{empty_mib:.0f} MiB before"),
        ("CPU of the cell host", f"{asleep.share:.2%}", f"Postgres {asleep.postgres_share:.2%}"),
        ("wake, as a client sees it", f"{p50:.0f} ms p50", f"{p99:.0f} ms p99"),
        ("wake, by the log's time", f"{middle(logged):.0f} ms p50", f"{quantiles(logged, n=100)[98]:.0f} ms p99"),
    )
    figures = {
        "sessions": count,
        "created_per_s": round(count / created_s, 1),
        "cells": asleep.cells,
        "celld_mib": round(asleep.celld_mib, 1),
        "celld_mib_empty": round(empty_mib, 1),
        "celld_cpu_share": round(asleep.share, 5),
        "postgres_cpu_share": round(asleep.postgres_share, 5),
        "wake_p50_ms": round(p50, 1),
        "wake_p99_ms": round(p99, 1),
        "wake_logged_p50_ms": round(middle(logged), 1),
    }
    return Report("hibernate", ("what", "value", "beside"), rows, figures, None, _BAR, holds)
