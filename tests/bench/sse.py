"""Streams of one gateway: 500 readers, the gateway killed under them, and 100 readers that hardly read.

Real daemons; commands that need no sandbox make the events. A reader's delay counts from the time that the event says
of itself to the reader having it. What a reader has must be every seq, once and in order, also across the kill.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx

from setpoint.client.api import Client
from setpoint.contracts.limits import MIB
from tests.acceptance.harness import World, world
from tests.bench.readers import Reader, SlowReader, pause
from tests.bench.report import Report, middle

READERS, SLOW = 500, 100
_SPAN_S = 12.0
_SLOW_SPAN_S = 25  # longer than a client may block
_ROUNDS = 3
_PAUSE_S = 0.1
_LOG_BYTES = 4 * MIB
_TEXT_BYTES = 20_000
_WAIT_S = 60.0
BAR = (
    "nothing lost or repeated; 100 readers of 1 byte/s: memory + 10 MiB at most, p99 of the others at most 1.1 times; "
    "loop lag under 0.1 s"
)


def run() -> Iterator[Report]:
    """Measure 500 readers, the kill, and the slow readers on one stack, in this order."""
    with world(gateways=2) as stack:
        session = stack.session("bench-streams")
        _fill(stack, session)
        live, lag_s = asyncio.run(_live(stack, session))
        resumed = asyncio.run(_killed(stack, session))
        stack.restart("gateway")
        slow = asyncio.run(_slowed(stack, session))
    yield _report(live, lag_s, resumed, slow)


def _fill(stack: World, session: str) -> None:
    """Make a log that no kernel buffer holds, so that a reader who does not read is a load on the gateway itself."""
    for _ in range(_LOG_BYTES // (2 * _TEXT_BYTES)):
        stack.tool(session, "echo", text="x" * _TEXT_BYTES)


class _Writer:
    """Somebody who halts and unhalts a session, ten times a second, through the second gateway."""

    def __init__(self, stack: World, session: str) -> None:
        self._session, self._stop = session, threading.Event()
        self._api = _client(stack)
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> _Writer:
        self._work = self._pool.submit(self._write)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True)
        self._work.result()
        self._api.close()

    def _write(self) -> None:
        kind = "halt"
        while not self._stop.wait(_PAUSE_S):
            accepted = self._api.command(self._session, kind, {"reason": "bench"} if kind == "halt" else {})
            while self._api.command_state(self._session, accepted["command_id"])["status"] in ("queued", "accepted"):
                self._stop.wait(_PAUSE_S / 10)
            kind = "unhalt" if kind == "halt" else "halt"


async def _live(stack: World, session: str) -> tuple[list[float], float]:
    """Return the delays of 500 readers, and the worst loop lag of their gateway."""
    async with _Readers(stack, session, READERS) as readers:
        with _Writer(stack, session):
            await pause(_SPAN_S)
            lag_s = await _metric(stack, "gateway", "setpoint_loop_lag_seconds")
        await _caught_up(stack, session, readers)
        return [delay for reader in readers for delay in reader.delays], lag_s


async def _killed(stack: World, session: str) -> list[float]:
    """Kill the gateway of 500 readers; return the seconds from there to each reader's next event."""
    async with _Readers(stack, session, READERS) as readers:
        with _Writer(stack, session):
            await pause(_SPAN_S / 4)
            for reader in readers:
                reader.port = stack.stack.ports["gateway-2"]
            killed_s = time.monotonic()
            await asyncio.to_thread(stack.kill, "gateway")
            await pause(_SPAN_S / 2)
        await _caught_up(stack, session, readers)
        assert all(reader.resumed_s for reader in readers), "a reader was not cut off"
        return [reader.resumed_s - killed_s for reader in readers]


async def _slowed(stack: World, session: str) -> dict[str, Any]:
    """Return the p99 of 400 readers alone and beside 100 slow ones, in turns, and what these cost in memory."""
    alone: list[float] = []
    beside: list[float] = []
    grown = 0
    async with _Readers(stack, session, READERS - SLOW) as readers:
        for _ in range(_ROUNDS):
            p99_s, rest = await _span(stack, session, readers)
            alone.append(p99_s)
            slow = [SlowReader(stack.stack.ports["gateway"], stack.stack.api_key, session) for _ in range(SLOW)]
            reading = [asyncio.create_task(one.run()) for one in slow]
            p99_s, rss_bytes = await _span(stack, session, readers)
            beside.append(p99_s)
            grown = max(grown, rss_bytes - rest)
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
        await _caught_up(stack, session, readers)
    cut = await _metric(stack, "gateway", "setpoint_gateway_streams_cut_total")
    return {"alone_s": alone, "beside_s": beside, "grown_bytes": grown, "cut": int(cut)}


async def _span(stack: World, session: str, readers: list[Reader]) -> tuple[float, int]:
    """Write for a while; return the p99 of the readers' delays, and the most memory that the gateway had meanwhile."""
    for reader in readers:
        reader.delays.clear()
    most_bytes = 0
    with _Writer(stack, session):
        for _ in range(_SLOW_SPAN_S):
            await pause(1.0)
            most_bytes = max(most_bytes, _rss_bytes(stack.pid("gateway")))
    return _percentile([delay for reader in readers for delay in reader.delays], 99), most_bytes


class _Readers:
    """That many readers from the end of the log on, all of them connected; they end with the block."""

    def __init__(self, stack: World, session: str, count: int) -> None:
        self._after = int(stack.api.session(session)["head_seq"])
        port = stack.stack.ports["gateway"]
        self._readers = [Reader(port, stack.stack.api_key, session, self._after) for _ in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> list[Reader]:
        self._tasks = [asyncio.create_task(reader.run()) for reader in self._readers]
        async with asyncio.timeout(_WAIT_S):
            for reader in self._readers:
                await reader.connected.wait()
        return self._readers

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        for found in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(found, Exception):
                raise found


async def _caught_up(stack: World, session: str, readers: list[Reader]) -> None:
    """Wait until every reader has the end of the log. A reader that met a gap or a repeat has said so by ending."""
    with _client(stack) as api:
        head = int(api.session(session)["head_seq"])
    async with asyncio.timeout(_WAIT_S):
        while any(reader.last < head for reader in readers):
            await pause(0.05)


def _client(stack: World) -> Client:
    """Return a client of the gateway that is not killed."""
    return Client(f"http://127.0.0.1:{stack.stack.ports['gateway-2']}", stack.stack.api_key)


async def _metric(stack: World, gateway: str, name: str) -> float:
    """Return a metric of a gateway."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{stack.stack.ports[gateway]}/metrics")).text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _rss_bytes(pid: int) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


def _report(live: list[float], lag_s: float, resumed: list[float], slow: dict[str, Any]) -> Report:
    alone, beside = middle(slow["alone_s"]), middle(slow["beside_s"])
    ratio, grown = beside / alone, slow["grown_bytes"] / MIB
    rows = (
        (f"event -> {READERS} readers", _ms(_percentile(live, 50)), _ms(_percentile(live, 99)), _ms(max(live))),
        (
            "gateway killed -> next event",
            _ms(_percentile(resumed, 50)),
            _ms(_percentile(resumed, 99)),
            _ms(max(resumed)),
        ),
        (f"{READERS - SLOW} readers alone", "", _ms(alone), ""),
        (f"{READERS - SLOW} beside {SLOW} slow ones", "", _ms(beside), ""),
    )
    return Report(
        "sse",
        ("ms", "p50", "p99", "max"),
        rows,
        {
            "readers": READERS,
            "delivered": len(live),
            "delay_ms": {"p50": _round(_percentile(live, 50)), "p99": _round(_percentile(live, 99))},
            "loop_lag_ms": _round(lag_s),
            "resumed_ms": {"p50": _round(_percentile(resumed, 50)), "max": _round(max(resumed))},
            "alone_p99_ms": [_round(one) for one in slow["alone_s"]],
            "beside_p99_ms": [_round(one) for one in slow["beside_s"]],
            "slow_grown_mib": round(grown, 2),
            "slow_cut": slow["cut"],
        },
        ratio=round(ratio, 3),
        bar=BAR,
        holds=ratio <= 1.1 and grown <= 10 and lag_s < 0.1,
        notes=(
            f"{len(live)} deliveries, none missing, none twice; loop lag {lag_s * 1000:.0f} ms at most",
            f"{SLOW} readers of 1 byte/s: memory of the gateway + {grown:.1f} MiB, {slow['cut']} times cut off",
        ),
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _round(seconds: float) -> float:
    return round(seconds * 1000, 1)
