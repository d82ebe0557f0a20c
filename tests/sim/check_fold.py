"""The fold: I17 (it is what is stored, whoever folds) and I30 (no time decides anything), and what is left at the end.

These are dear, so a run holds only some of its schedules against the first two (``judge.py`` says which).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from celld.core.evolve import evolve
from celld.core.project import document
from celld.core.state import Asset, State, empty
from setpoint.contracts.event import Event
from setpoint.contracts.explain import SESSION_ROW, Seen, compose, reasons_of, seen
from tests.sim.story import Findings, Specs, Story

_STANDING: Final = frozenset({"AssetSuspended", "AutoSyncOff", "NoSyncDefined"})
_HOUR_US: Final = 3_600_000_000
_CLOCKS_US: Final = 5_000_000


Fold = Callable[[State, Event], State]


def folded(story: Story, *, shuffled: bool = False, fold: Fold = evolve) -> State:
    """Fold the log from nothing; ``shuffled`` gives every event a time that has nothing to do with its own."""
    state = empty(story.session)
    for event in story.log:
        state = fold(state, _row(story, event, shuffled))
    return state


def projection(story: Story) -> Findings:
    """I17: every stored row of the projection is what the fold of the whole log says."""
    state = folded(story)
    yield from _alarm(story, state)
    stored = {name: doc for name, doc in story.docs.items() if name != SESSION_ROW}
    if stored.keys() != set(state.assets):
        yield f"the fold has {sorted(state.assets)}, the table {sorted(stored)}"
        return
    for asset in state.assets.values():
        said = msgspec.json.decode(msgspec.json.encode(document(state, asset)))
        kept = msgspec.json.decode(msgspec.json.encode(stored[asset.name]))
        for one in (said, kept):
            one["blocked_by"] = bool(one["blocked_by"])  # whom it names is as of the asset's own last change
        wrong = {key: (value, kept.get(key)) for key, value in said.items() if kept.get(key) != value}
        if wrong:
            yield f"{asset.name}, by fold and table: {wrong}"


def times(story: Story, fold: Fold = evolve) -> Findings:
    """I30: with every time in the log made another, the fold knows and owes the same."""
    plain, shuffled = folded(story, fold=fold), folded(story, shuffled=True, fold=fold)
    if _owed(plain) != _owed(shuffled):
        yield "the session owes something else when the times are others"
    for name in plain.assets:
        one, other = _timeless(plain.assets[name]), _timeless(shuffled.assets[name])
        if one != other:
            yield f"{name} is {one}, with other times {other}"


def rest(story: Story, owned: bool) -> Findings:
    """I25, I27: at the end every asset is Ready and truly so, or a standing reason says why not."""
    if any(event.type == "session.closed" for event in story.log):
        return
    if not owned:
        yield "nobody owns the session"
    if any(event.type == "session.failed" for event in story.log):
        return
    specs = Specs(story)
    for event in story.log:
        specs.feed(event)
    rows = {name: seen(doc) for name, doc in story.docs.items() if name != SESSION_ROW}
    session = reasons_of(story.docs.get(SESSION_ROW, {}))
    if session:
        yield f"the session is stopped: {[reason.code for reason in session]}"
    for name, row in rows.items():
        reasons = [reason.code for reason in compose(row, rows.get, session, story.ended_at + _HOUR_US)]
        if not specs.assets[name].pairs:
            continue
        if row.settled:
            false = [c.name for c in specs.assets[name].conditions() if story.truth[name, c.name] is not True]
            if false:
                yield f"{name} is known Ready and {false} do not hold"
        elif not _STANDING & set(reasons) and not _looked_at(row):
            yield f"{name} is {row.state}, known {row.known}, owed {row.owed}, for {reasons}"


def _alarm(story: Story, state: State) -> Findings:
    """A session that sleeps is due no later than it has to do something again by itself."""
    agendas = (state.looks, state.requested, *((state.directs,) if state.halted is None else ()))
    due = min((entry[0] for agenda in agendas if (entry := agenda.first()) is not None), default=None)
    if story.log[-1].type != "session.hibernated" or due is None:
        return
    if story.wake_at is None or story.wake_at > max(due, story.log[-1].at) + _CLOCKS_US:
        yield f"it sleeps until {story.wake_at} and has to do something at {due}"


def _looked_at(row: Seen) -> bool:
    """Tell whether a timer's look at an asset that is Ready is all that is under way."""
    return row.known == "ready" and not row.stale and row.state == "evaluating" and not row.to_sync


def _row(story: Story, event: Event, shuffled: bool) -> Event:
    if event.type != "resources.applied" and not shuffled:
        return event
    fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
    if event.type == "resources.applied":
        fields["attachment"] = story.sets[event.data["resources"]]
    if shuffled:
        fields["at"] = 1_700_000_000_000_000 + (event.seq * 7919) % 1009 * _HOUR_US
    return Event(**fields)


def _owed(state: State) -> tuple[object, ...]:
    return sorted(state.executions), sorted(state.commands), sorted(state.locks), state.halted is None, state.closed


def _timeless(asset: Asset) -> tuple[object, ...]:
    sync = asset.sync
    return (
        asset.known,
        asset.stale,
        asset.unclear,
        asset.failures,
        asset.turns,
        asset.look is None,
        asset.direct is None,
        asset.drift is None,
        asset.retry is None,
        asset.suspended is None,
        asset.blocked,
        (sync.kind, sync.pair, sync.phase, sync.stages_ok) if sync is not None else None,
        {name: result.state for name, result in asset.results.items()},
    )
