"""The timers of an asset's conditions: every so often, or by the clock on a wall; and results that may be taken again.

``due`` has the next tick of each interval, ``ticks`` that of each ``checkAt``. A tick at which the result at hand may
be taken again needs no event: ``timer`` of the asset is the first instant at which something really has to be run.
Which instant a clock on a wall means is worked out once, by a decision, and is in its event: a replay reads it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from celld.core.state import Asset, Evaluation, Result
from setpoint.contracts.clock import parse_rfc3339, rfc3339
from setpoint.contracts.resource.cron import next_tick
from setpoint.contracts.resource.model import Condition


def is_settled(asset: Asset, condition: Condition) -> bool:
    """Tell whether the last result of a condition is Ready and still says something."""
    last = asset.results.get(condition.name)
    return last is not None and last.seq >= asset.valid_from and last.state == "ready"


def is_due(asset: Asset, condition: Condition, now: int) -> bool:
    """Tell whether a timer of the condition has come and its result may not be taken again."""
    tick = asset.ticks.get(condition.name)
    due = asset.due.get(condition.name)
    if tick is not None and tick <= now:
        return True
    return due is not None and due <= now and now >= _fresh_until(asset, condition)


def reused(asset: Asset, flight: Evaluation) -> tuple[str, ...]:
    """Return the conditions that were due when ``flight`` began and whose result was taken as it was."""
    return tuple(name for name, due in asset.due.items() if due <= flight.at and name not in flight.conditions)


def ticks_after(asset: Asset, flight: Evaluation, results: Mapping[str, Result]) -> list[str | None]:
    """Return the next tick of each condition with a ``checkAt``, in their order; None where it stays as it was.

    It comes after the evaluation began, so that none is answered by a look from before it; and a Ready result is
    taken again for as long as it may.
    """
    found: list[str | None] = []
    known: dict[tuple[str, str, int], str] = {}
    for condition in _by_clock(asset):
        if condition.name in asset.ticks and condition.name not in flight.conditions:
            found.append(None)
            continue
        result, since = results.get(condition.name), flight.at
        if result is not None and result.state == "ready" and condition.cache_ttl_s:
            since = max(since, result.at + round(condition.cache_ttl_s * 1_000_000) - 1)
        key = (condition.check_at or "", condition.timezone, since)
        known[key] = known.get(key) or rfc3339(next_tick(*key))
        found.append(known[key])
    return found


def armed(asset: Asset, flight: Evaluation, results: dict[str, Result], at: int, ticks: Iterable[str | None]) -> Asset:
    """Return the asset with the results of an evaluation that has ended and its timers wound up again.

    What ran, or was due and taken as it was, is due an interval after the end; missed ticks collapse. ``ticks`` is
    what ``ticks_after`` said.
    """
    again = {*flight.conditions, *reused(asset, flight)}
    due = {
        condition.name: at + round(condition.interval_s * 1_000_000)
        if condition.name in again or condition.name not in asset.due
        else asset.due[condition.name]
        for condition in asset.spec.conditions()
        if condition.interval_s is not None
    }
    named = zip(_by_clock(asset), ticks, strict=False)
    clock = {condition.name: parse_rfc3339(tick) for condition, tick in named if tick is not None}
    return wound(replace(asset, results=results, due=due, ticks={**asset.ticks, **clock}))


def put_off(asset: Asset, names: Iterable[str], at: int) -> Asset:
    """Return the asset with the timers of these conditions set to ``at``."""
    names = frozenset(names)
    due = {name: at if name in names else tick for name, tick in asset.due.items()}
    ticks = {name: at if name in names else tick for name, tick in asset.ticks.items()}
    return wound(replace(asset, due=due, ticks=ticks))


def wound(asset: Asset) -> Asset:
    """Return the asset with ``timer`` as its timers and results have it; for whoever changed one of these."""
    times = list(asset.ticks.values())
    if asset.due:
        times += [_runs_at(asset, c, asset.due[c.name]) for c in asset.spec.conditions() if c.name in asset.due]
    timer = min(times, default=None)
    return asset if timer == asset.timer else replace(asset, timer=timer)


def _by_clock(asset: Asset) -> list[Condition]:
    return [condition for condition in asset.spec.conditions() if condition.check_at is not None]


def _runs_at(asset: Asset, condition: Condition, due: int) -> int:
    """Return the first tick, from ``due`` on, at which the condition has to be run."""
    wait = _fresh_until(asset, condition) - due
    if wait <= 0 or condition.interval_s is None:
        return due
    step = round(condition.interval_s * 1_000_000)
    return due - (-wait // step) * step


def _fresh_until(asset: Asset, condition: Condition) -> int:
    """Return until when a timer may take the condition's result as it is; 0 when it may not."""
    if not condition.cache_ttl_s or not is_settled(asset, condition):
        return 0
    return asset.results[condition.name].at + round(condition.cache_ttl_s * 1_000_000)
