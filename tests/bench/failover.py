"""How long sessions stand still when their cell host is killed or frozen, and when Postgres is killed.

Real daemons: three cell hosts, one of everything else. 24 sessions are awake and have nothing to do; each has a reader.
A strike hits the cell host that owns most of them, and counts from just before the signal to the next event of each of
its sessions (``lease.acquired`` of the next owner). Postgres counts from when it accepts connections again, to the next
event of sessions that clients keep sending commands to. Frozen hosts are measured with a lease of 3 s, to be short.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from tests.acceptance.harness import World, world
from tests.bench.readers import pause
from tests.bench.report import Report, middle
from tests.bench.wire import Heard, Listener, NotAccepted, Poster

STRIKES = 30
SESSIONS, CLIENTS = 24, 8
TTL_S = 3.0
_HOSTS = ("celld", "celld-2", "celld-3")
_AWAKE = {"SETPOINT_HIBERNATE_AFTER": "1h"}
_SHORT = {"SETPOINT_LEASE_TTL": f"{TTL_S:g}s"}
_WAIT_S = 60.0
_POST_PAUSE_S = 0.02
_KILLED_S, _FROZEN_S, _POSTGRES_S = 1.5, TTL_S + 2, 2.0
BAR = (
    f"p99 to the next event: cell host killed under {_KILLED_S:g} s, frozen under its lease ({TTL_S:g} s) + 2 s, "
    f"Postgres killed under {_POSTGRES_S:g} s after it accepts connections"
)


@dataclass
class _Found:
    """Seconds to the next event of each session, by what was struck."""

    killed: list[float] = field(default_factory=list)
    frozen: list[float] = field(default_factory=list)
    postgres: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    """From Postgres accepting connections to the first 202 of each client."""
    down: list[float] = field(default_factory=list)
    """From Postgres killed to accepting connections."""


def run(strikes: int = STRIKES) -> Iterator[Report]:
    """Strike cell hosts and Postgres on one stack, then freeze cell hosts on another with a shorter lease."""
    found = _Found()
    with world(cell_hosts=len(_HOSTS), extra=dict.fromkeys(_HOSTS, _AWAKE)) as stack:
        asyncio.run(_killed(stack, found, strikes))
    short = dict.fromkeys(_HOSTS, _AWAKE | _SHORT) | {"sandboxd": _SHORT}
    with world(cell_hosts=len(_HOSTS), extra=short) as stack:
        asyncio.run(_frozen(stack, found, strikes))
    yield _report(found)


class _Ears:
    """A reader for each session. ``next_after`` waits for what a session says after an instant."""

    def __init__(self, stack: World, sessions: list[str]) -> None:
        self._port, self._key = stack.stack.ports["gateway"], stack.stack.api_key
        self._heard: dict[str, list[float]] = {session: [] for session in sessions}
        self._listeners = [Listener(self._port, self._key, session, 0, self._hear) for session in sessions]
        self._changed = asyncio.Event()

    async def __aenter__(self) -> _Ears:
        self._tasks = [asyncio.create_task(listener.run()) for listener in self._listeners]
        async with asyncio.timeout(_WAIT_S):
            for listener in self._listeners:
                await listener.connected.wait()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def next_after(self, instant_s: float, sessions: list[str]) -> list[float]:
        """Return how long after ``instant_s`` each of these sessions had its next event."""
        async with asyncio.timeout(_WAIT_S):
            while True:
                self._changed.clear()
                firsts = [next((at for at in self._heard[one] if at > instant_s), None) for one in sessions]
                if None not in firsts:
                    return [at - instant_s for at in firsts if at is not None]
                await self._changed.wait()

    def _hear(self, heard: Heard) -> None:
        self._heard[heard.session].append(heard.at_s)
        self._changed.set()


async def _killed(stack: World, found: _Found, strikes: int) -> None:
    sessions = await asyncio.to_thread(_create, stack)
    async with _Ears(stack, sessions) as ears:
        for _ in range(strikes):
            host, struck = await asyncio.to_thread(_most_loaded, stack, sessions)
            begun_s = time.monotonic()
            stack.signal(host, signal.SIGKILL)
            found.killed += await ears.next_after(begun_s, struck)
            await asyncio.to_thread(_bring_back, stack)
        for _ in range(strikes):
            await _kill_postgres(stack, found, ears, sessions[:CLIENTS])
            await asyncio.to_thread(_bring_back, stack)


async def _frozen(stack: World, found: _Found, strikes: int) -> None:
    back: list[asyncio.Task[None]] = []
    sessions = await asyncio.to_thread(_create, stack)
    async with _Ears(stack, sessions) as ears, asyncio.TaskGroup() as coming_back:
        for _ in range(strikes):
            host, struck = await asyncio.to_thread(_most_loaded, stack, sessions)
            begun_s = time.monotonic()
            stack.signal(host, signal.SIGSTOP)
            found.frozen += await ears.next_after(begun_s, struck)
            await asyncio.gather(*back)  # a strike takes longer than a start: two hosts are there at any time
            back = [coming_back.create_task(asyncio.to_thread(_thaw, stack, host))]


async def _kill_postgres(stack: World, found: _Found, ears: _Ears, sessions: list[str]) -> None:
    cluster = stack.stack.cluster
    assert cluster is not None and cluster.pid is not None, "the stack has a Postgres of its own"
    async with _posting(stack, sessions) as answered:
        begun_s = time.monotonic()
        os.kill(cluster.pid, signal.SIGKILL)
        await asyncio.to_thread(stack.until, lambda: cluster.pid is None, "Postgres dies")
        dead_s = time.monotonic()
        await asyncio.to_thread(lambda: stack.run(cluster.start()))
        accepts_s = time.monotonic()
        found.down.append(accepts_s - begun_s)
        events = [dead_s + took for took in await ears.next_after(dead_s, sessions)]
        async with asyncio.timeout(_WAIT_S):
            while any(not took or took[-1] < dead_s for took in answered):
                await pause(_POST_PAUSE_S)
        answers = [next(at for at in took if at > dead_s) for took in answered]
        found.postgres += [max(0.0, at - accepts_s) for at in events]
        found.answered += [max(0.0, at - accepts_s) for at in answers]


@contextlib.asynccontextmanager
async def _posting(stack: World, sessions: list[str]) -> AsyncIterator[list[list[float]]]:
    """Have a client per session post commands one after the other; yields when each of them had its answers."""
    answered: list[list[float]] = [[] for _ in sessions]

    async def post(session: str, took: list[float]) -> None:
        poster = Poster(stack.stack.ports["gateway"], stack.stack.api_key)
        kinds: tuple[tuple[str, dict[str, Any]], ...] = (("halt", {"reason": "bench"}), ("unhalt", {}))
        try:
            for n in range(1_000_000):
                with contextlib.suppress(NotAccepted, ConnectionError):  # while it is away
                    await poster.command(session, *kinds[n % 2])
                    took.append(time.monotonic())
                await pause(_POST_PAUSE_S)
        finally:
            poster.close()

    tasks = [asyncio.create_task(post(*each)) for each in zip(sessions, answered, strict=True)]
    try:
        yield answered
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _create(stack: World) -> list[str]:
    sessions = [stack.session(f"bench-{n}") for n in range(SESSIONS)]
    for session in sessions:
        stack.wait_type(session, "session.started")
    return sessions


def _most_loaded(stack: World, sessions: list[str]) -> tuple[str, list[str]]:
    """Return the cell host that owns most sessions, once all are owned, and those sessions."""

    def owners() -> dict[str, str] | None:
        found = {session: stack.api.session(session)["owner_host"] for session in sessions}
        return found if all(found.values()) else None

    by_session: dict[str, str] = stack.until(owners, "every session has an owner")
    host, _ = Counter(by_session.values()).most_common(1)[0]
    return host, [session for session, owner in by_session.items() if owner == host]


def _bring_back(stack: World) -> None:
    """Start whoever is dead: whom we have struck, and whoever has lost its lease meanwhile."""
    for host in _HOSTS:
        daemon = stack.stack.daemons[host]
        if daemon.pid is None:
            stack.restart(host)


def _thaw(stack: World, host: str) -> None:
    """Let a frozen host go on: it sees that its lease is over, ends, and is started again."""
    stack.signal(host, signal.SIGCONT)
    stack.until(lambda: stack.stack.daemons[host].pid is None, f"{host} ends")
    stack.restart(host)


def _report(found: _Found) -> Report:
    kinds = (
        ("cell host killed -> next event", found.killed, _KILLED_S),
        (f"cell host frozen (lease {TTL_S:g} s) -> next event", found.frozen, _FROZEN_S),
        ("Postgres accepts -> next event", found.postgres, _POSTGRES_S),
    )
    rows = [(what, *_cells(values), f"{bar:g}") for what, values, bar in kinds]
    rows.append(("Postgres accepts -> first 202", *_cells(found.answered), ""))
    rows.append(("Postgres killed -> accepts", *_cells(found.down), ""))
    figures: dict[str, Any] = {"strikes": len(found.down), "lease_s": TTL_S}
    for name, values in vars(found).items():
        figures[f"{name}_s"] = {"p50": _round(middle(values)), "p99": _round(_p99(values)), "max": _round(max(values))}
    return Report(
        "failover",
        ("s", "p50", "p99", "max", "bar"),
        tuple(rows),
        figures,
        round(max(_p99(values) / bar for _, values, bar in kinds), 2),
        BAR,
        all(_p99(values) < bar for _, values, bar in kinds),
        notes=(f"{len(found.killed)} + {len(found.frozen)} sessions changed their host, {SESSIONS} at a time at most",),
    )


def _cells(values: list[float]) -> tuple[str, ...]:
    return f"{middle(values):.2f}", f"{_p99(values):.2f}", f"{max(values):.2f}"


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def _round(seconds: float) -> float:
    return round(seconds, 3)
