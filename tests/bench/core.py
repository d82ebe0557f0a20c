"""What a decision of the core costs as the session grows, and how fast its log is folded again.

``decide`` is measured on sessions of 10 to 10,000 assets (chains of ten); each figure is the median over many calls on
one and the same state. The bar: at 10,000 assets at most twice what it is at 10. The replay folds the log of a session
of 10,000 assets, 100,000 events, from the text of its rows: under 5 s.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import msgspec

from celld.core.decide import decide
from celld.core.evolve import evolve
from celld.core.state import State, empty
from setpoint.contracts.cell import Input, Restore, RunEnded, StepEnded, Tick, ToCell
from setpoint.contracts.codec import Unpacker, canonical_json, pack
from setpoint.contracts.event import Event
from setpoint.contracts.limits import RESTORE_EVENTS_PER_FRAME
from setpoint.contracts.resource.model import CompiledAsset, CompiledSet
from tests.bench.report import Report, middle
from tests.bench.session import SECOND, SESSION, Desk
from tests.sim.world import asset, project

SIZES = (10, 100, 1_000, 10_000)
GROWTH_MAX = 2.0
REPLAY_S_MAX = 5.0
REPLAY_ASSETS, REPLAY_EVENTS = 10_000, 100_000
_CHAIN = 10
_CALLS = 200


@dataclass(frozen=True)
class Sample:
    """One decision to be measured."""

    state: State
    observed: Input
    now: int


def run() -> Iterator[Report]:
    """Measure and report, decisions first."""
    yield _decisions()
    yield _replay()


def chains(n: int, length: int = _CHAIN, **settings: int) -> CompiledSet:
    """Return ``n`` assets in chains; the last of each is a leaf, ``a...9``. All are looked at once an hour."""
    return project(*_links(n, length), **settings)


def _links(n: int, length: int, policy: str = "any") -> Iterator[CompiledAsset]:
    for place in range(n):
        above = () if place % length == 0 else (f"a{place - 1:05}",)
        yield asset(f"a{place:05}", *above, interval=3600.0, upstream_policy=policy, labels={"of": "bench"})


def calm(n: int) -> Desk:
    """Return a session in which all is Ready and nothing runs; one sync at a time may."""
    return _calm(n).fork()


@cache
def _calm(n: int) -> Desk:
    desk = Desk(chains(n, max_sync_concurrency=1))
    desk.serve(lambda name: True)
    return desk


def step_ready(n: int) -> Sample:
    """The last condition of a leaf's evaluation holds."""
    return _step(calm(n), good=True)


def step_drifted(n: int) -> Sample:
    """A leaf turns out Drifted: its sync is requested and started."""
    return _step(calm(n), good=False)


def sync_verified(n: int) -> Sample:
    """A sync in the last but one place of a chain is verified and triggers the leaf."""
    desk = calm(n)
    name = f"a{_CHAIN - 2:05}"
    desk.command("sync", {"select": [name]})
    start = desk.run_of(name)
    desk.feed(StepEnded(start.execution_id, desk.result(start.steps[0], True)))
    return Sample(desk.state, StepEnded(start.execution_id, desk.result(start.steps[1], True)), desk.now)


def run_ended(n: int) -> Sample:
    """A leaf's evaluation ends without a result."""
    desk = calm(n)
    name = _leaf(desk)
    return Sample(desk.state, RunEnded(desk.run_of(name).execution_id, "interrupted"), desk.now)


def tick(n: int) -> Sample:
    """One timer of the session is due."""
    desk = calm(n)
    due = min(one.timer for one in desk.state.assets.values() if one.timer is not None)
    return Sample(desk.state, Tick(), due)


def command(n: int) -> Sample:
    """A command asks for the evaluation of one asset."""
    desk = calm(n)
    return Sample(desk.state, desk.row("evaluate", {"select": ["a00009"]}), desk.now)


def crowded(n: int) -> Sample:
    """A leaf is Ready while four commands are open that name every asset: one goes on, three wait for it."""
    desk = _crowd(n)
    start = desk.run_of(f"a{_CHAIN - 1:05}")
    return Sample(desk.state, StepEnded(start.execution_id, desk.result(start.steps[0], True)), desk.now)


def command_crowded(n: int) -> Sample:
    """A command for one asset comes while these are open."""
    desk = _crowd(n)
    return Sample(desk.state, desk.row("evaluate", {"select": ["a00009"]}), desk.now)


def sync_of_all(n: int) -> Sample:
    """One asset's part ends in a command that asks for the sync of all: one of its downstreams is next."""
    desk = calm(n)
    desk.command("sync", {"select": ["label:of=bench"]})
    start = next(iter(desk.runs.values()))
    desk.feed(StepEnded(start.execution_id, desk.result(start.steps[0], True)))
    return Sample(desk.state, StepEnded(start.execution_id, desk.result(start.steps[1], True)), desk.now)


def _crowd(n: int) -> Desk:
    desk = calm(n)
    for kind in ("evaluate", "sync", "evaluate", "sync"):
        desk.command(kind, {"select": ["label:of=bench"]})
    return desk


def patient(n: int) -> Sample:
    """In the middle of one long chain, all of it ``upstreamPolicy: all``, a sync is verified and triggers the next."""
    desk = Desk(project(*_links(n, n, "all")))
    desk.serve(lambda name: True)
    name = f"a{n // 2:05}"
    desk.command("sync", {"select": [name]})
    start = desk.run_of(name)
    desk.feed(StepEnded(start.execution_id, desk.result(start.steps[0], True)))
    return Sample(desk.state, StepEnded(start.execution_id, desk.result(start.steps[1], True)), desk.now)


CASES: tuple[Callable[[int], Sample], ...] = (
    step_ready,
    step_drifted,
    sync_verified,
    run_ended,
    tick,
    command,
    crowded,
    command_crowded,
    sync_of_all,
    patient,
)


def _decisions() -> Report:
    rows: list[tuple[str, ...]] = []
    figures: dict[str, float] = {}
    worst = 0.0
    for case in CASES:
        costs = [_cost_us(case(n)) for n in SIZES]
        ratio = costs[-1] / costs[0]
        worst = max(worst, ratio)
        rows.append((case.__name__, *(f"{cost:.0f}" for cost in costs), f"{ratio:.2f}"))
        figures |= {f"{case.__name__}_{n}_us": round(cost, 1) for n, cost in zip(SIZES, costs, strict=True)}
    return Report(
        "core.decide",
        ("decision, CPU us", *(f"{n:,} assets" for n in SIZES), "ratio"),
        tuple(rows),
        figures,
        round(worst, 2),
        f"at 10,000 assets at most {GROWTH_MAX:g} times what it costs at 10",
        worst <= GROWTH_MAX,
    )


def _cost_us(sample: Sample) -> float:
    """Return the median CPU time of one call of ``decide``: others may use the machine."""
    decide(sample.state, sample.observed, sample.now)
    gc.collect()
    gc.disable()  # a full collection walks every object of the session; it is counted by the replay
    took: list[float] = []
    for _ in range(_CALLS):
        begun = time.process_time_ns()
        decide(sample.state, sample.observed, sample.now)
        took.append((time.process_time_ns() - begun) / 1000)
        if sum(took) > 2_000_000:
            break
    gc.enable()
    return middle(took)


def _leaf(desk: Desk) -> str:
    name = f"a{_CHAIN - 1:05}"
    desk.command("evaluate", {"select": [name]})
    return name


def _step(desk: Desk, *, good: bool) -> Sample:
    start = desk.run_of(_leaf(desk))
    return Sample(desk.state, StepEnded(start.execution_id, desk.result(start.steps[0], good)), desk.now)


def _replay() -> Report:
    log = _long_log()
    applied = next(event for event in log if event.type == "resources.applied")
    rows = [(event, canonical_json(event.data)) for event in log]
    begun = time.process_time()
    events = [_event(row, text) for row, text in rows]
    decoded = time.process_time()
    parts = [pack(Restore(SESSION, tuple(part), last=False)) for part in _parts(events)]
    packed = time.process_time()
    unpack = Unpacker(ToCell)
    frames = [unpack(part) for part in parts]
    unpacked = time.process_time()
    state = empty(SESSION)
    for frame in frames:
        for event in frame.events:
            state = evolve(state, event)
    folded = time.process_time()
    assert state.head_seq == len(log) and len(state.assets) == REPLAY_ASSETS and applied.attachment is not None
    spans = {
        "rows_to_events_s": decoded - begun,
        "pack_s": packed - decoded,
        "unpack_s": unpacked - packed,
        "fold_s": folded - unpacked,
    }
    total = sum(spans.values())
    said = tuple((name.removesuffix("_s").replace("_", " "), f"{span:.2f}") for name, span in spans.items())
    return Report(
        "core.replay",
        (f"{len(log):,} events of {REPLAY_ASSETS:,} assets", "CPU s"),
        (*said, ("all of it", f"{total:.2f}"), ("events a second, folded", f"{len(log) / spans['fold_s']:,.0f}")),
        {name: round(span, 3) for name, span in spans.items()} | {"total_s": round(total, 3), "events": len(log)},
        round(total / REPLAY_S_MAX, 2),
        f"under {REPLAY_S_MAX:g} s of CPU, from the text of the rows to the state",
        total < REPLAY_S_MAX,
    )


def _long_log() -> list[Event]:
    """Return a log of a session that was evaluated, drifted and healed, cut to its length."""
    desk = Desk(chains(REPLAY_ASSETS))
    desk.serve(lambda name: True)
    healed: set[str] = set()

    def holds(name: str) -> bool:
        known = name in healed
        healed.add(name)
        return known

    while len(desk.log) < REPLAY_EVENTS:
        healed.clear()
        desk.now += 3600 * SECOND
        desk.command("evaluate", {})
        desk.serve(holds)
    return desk.log[:REPLAY_EVENTS]


def _event(row: Event, text: bytes) -> Event:
    """Return an event as celld makes it of a row: the payload is JSON text there."""
    return msgspec.structs.replace(row, data=msgspec.json.decode(text))


def _parts(events: list[Event]) -> Iterator[list[Event]]:
    for first in range(0, len(events), RESTORE_EVENTS_PER_FRAME):
        yield events[first : first + RESTORE_EVENTS_PER_FRAME]
