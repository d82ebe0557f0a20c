"""From POST of a command to its ``command.accepted`` at a reader of the stream: idle, and with 64 busy sessions.

Real daemons, one of each, on this machine; the clients are bare sockets. The time counts from before the request is
written to when the reader has the event, whichever comes first, the event or the 202. Idle is one session and one
command after the other. Busy is 64 sessions that each get a command every half second whether the last one has ended
or not, each with a reader of its own. The commands are halt and unhalt: decided, committed, told, nothing run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from tests.acceptance.harness import World, world
from tests.bench.pgbench import Pgbench
from tests.bench.readers import pause
from tests.bench.report import Report, middle
from tests.bench.wire import Heard, Listener, Poster

BUSY = 64
_IDLE_COMMANDS = 300
_IDLE_PAUSE_S = 0.02
_BUSY_EVERY_S = 0.5
_BUSY_S = 30.0
_WARM = 20
_WAIT_S = 30.0
_COMMIT_S, _ROW_BYTES = 3, 200
_IDLE_MS_MORE, _BUSY_MS_MAX = 6.0, 50.0
BAR = (
    f"idle p50 under 2 x the commit of the same run + {_IDLE_MS_MORE:g} ms; p99 under {_BUSY_MS_MAX:g} ms, "
    f"idle and with {BUSY} busy sessions"
)


@dataclass(frozen=True)
class _Taken:
    """Milliseconds from the request to its event, and to its 202."""

    event_ms: list[float]
    answer_ms: list[float]


def run() -> Iterator[Report]:
    """Measure the commit alone, then idle, then busy, on one stack."""
    with world(extra={"celld": {"SETPOINT_HIBERNATE_AFTER": "10m"}}) as stack:
        pgbench = Pgbench(stack)
        pgbench.prepare()
        commit_ms = pgbench.insert(1, _COMMIT_S, _ROW_BYTES).p50_ms
        idle = asyncio.run(_idle(stack, stack.session("bench-idle")))
        sessions = [stack.session(f"bench-busy-{n}") for n in range(BUSY)]
        busy = asyncio.run(_busy(stack, sessions))
    yield _report(commit_ms, idle, busy)


class _Client:
    """A session with its poster and its reader, both connected for the length of the block."""

    def __init__(self, stack: World, session: str) -> None:
        port, key = stack.stack.ports["gateway"], stack.stack.api_key
        self.session, self.taken = session, _Taken([], [])
        self._poster = Poster(port, key)
        self._listener = Listener(port, key, session, 0, self._hear)
        self._accepted: dict[str, asyncio.Future[float]] = {}
        self._halted = False

    async def __aenter__(self) -> _Client:
        self._task = asyncio.create_task(self._listener.run())
        async with asyncio.timeout(_WAIT_S):
            await self._listener.connected.wait()
        for _ in range(_WARM):
            await self.command()
        self.taken = _Taken([], [])
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._poster.close()

    async def command(self) -> None:
        """Post one command and wait for its acceptance in the stream."""
        self._halted = not self._halted
        kind, payload = ("halt", {"reason": "bench"}) if self._halted else ("unhalt", {})
        begun_s = time.monotonic()
        command_id = await self._poster.command(self.session, kind, payload)
        answered_s = time.monotonic()
        async with asyncio.timeout(_WAIT_S):
            heard_s = await self._of(command_id)
        self.taken.event_ms.append((heard_s - begun_s) * 1000)
        self.taken.answer_ms.append((answered_s - begun_s) * 1000)

    def _hear(self, heard: Heard) -> None:
        if heard.type == "command.accepted":
            accepted = self._of(heard.command_id)
            if not accepted.done():
                accepted.set_result(heard.at_s)

    def _of(self, command_id: str) -> asyncio.Future[float]:
        return self._accepted.setdefault(command_id, asyncio.get_running_loop().create_future())


async def _idle(stack: World, session: str) -> _Taken:
    async with _Client(stack, session) as client:
        for _ in range(_IDLE_COMMANDS):
            await client.command()
            await pause(_IDLE_PAUSE_S)
        return client.taken


async def _busy(stack: World, sessions: list[str]) -> _Taken:
    clients = [_Client(stack, session) for session in sessions]
    async with asyncio.TaskGroup() as opening:
        for client in clients:
            opening.create_task(client.__aenter__())
    try:
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as load:
            for n, client in enumerate(clients):
                load.create_task(_beat(client, begun_s + _BUSY_EVERY_S * n / len(clients), begun_s + _BUSY_S))
    finally:
        for client in clients:
            await client.__aexit__()
    return _Taken(
        [took for client in clients for took in client.taken.event_ms],
        [took for client in clients for took in client.taken.answer_ms],
    )


async def _beat(client: _Client, at_s: float, until_s: float) -> None:
    """Post at fixed instants, so that a slow answer delays nobody else's question, and its own counts what it cost."""
    while at_s < until_s:
        await pause(max(0.0, at_s - time.monotonic()))
        await client.command()
        at_s += _BUSY_EVERY_S


def _report(commit_ms: float, idle: _Taken, busy: _Taken) -> Report:
    bar_ms = 2 * commit_ms + _IDLE_MS_MORE
    idle_p50, idle_p99 = middle(idle.event_ms), _p99(idle.event_ms)
    busy_p50, busy_p99 = middle(busy.event_ms), _p99(busy.event_ms)
    rows = (
        ("commit of one row, alone", f"{commit_ms:.2f}", "", ""),
        _row("idle: event", idle.event_ms),
        _row("idle: 202", idle.answer_ms),
        _row(f"{BUSY} busy sessions: event", busy.event_ms),
        _row(f"{BUSY} busy sessions: 202", busy.answer_ms),
    )
    figures: dict[str, Any] = {
        "commit_p50_ms": round(commit_ms, 3),
        "idle_p50_ms": round(idle_p50, 2),
        "idle_p99_ms": round(idle_p99, 2),
        "idle_bar_ms": round(bar_ms, 2),
        "busy_p50_ms": round(busy_p50, 2),
        "busy_p99_ms": round(busy_p99, 2),
        "busy_sessions": BUSY,
        "busy_commands_per_s": round(len(busy.event_ms) / _BUSY_S, 1),
    }
    holds = idle_p50 < bar_ms and idle_p99 < _BUSY_MS_MAX and busy_p99 < _BUSY_MS_MAX
    return Report(
        "latency",
        ("ms", "p50", "p99", "max"),
        rows,
        figures,
        round(idle_p50 / bar_ms, 2),
        BAR,
        holds,
        notes=(
            f"idle p50 {idle_p50:.1f} ms of {bar_ms:.1f} ms allowed; {len(idle.event_ms)} commands",
            f"busy: {len(busy.event_ms) / _BUSY_S:.0f} commands a second, three events each",
        ),
    )


def _row(what: str, taken: list[float]) -> tuple[str, ...]:
    return what, f"{middle(taken):.1f}", f"{_p99(taken):.1f}", f"{max(taken):.1f}"


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]
