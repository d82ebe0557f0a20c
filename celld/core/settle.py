"""Settling: after each input, start whatever may start now, oldest first, until nothing more does."""

from __future__ import annotations

from celld.core import evaluate, lock, progress, schedule, sync, workspace
from celld.core.state import Asset
from celld.core.turn import Turn


class Unsettled(Exception):
    """A decision started the same thing twice: a rule is wrong. The cell must crash rather than spin."""


def settle(turn: Turn) -> None:
    """Start what is due: tools and manual syncs, direct syncs, runs in the order of their requests, then evaluations.

    When nothing else is left, a sync that needs a lock: a decision that takes one holds nothing but that start.
    """
    begun: set[tuple[str, str]] = set()
    seen = -1
    while seen != len(turn.events) and not turn.full:
        seen = len(turn.events)
        turn.again = False
        progress.advance(turn)
        if turn.state.closing is not None or turn.state.closed:
            continue
        _withdraw(turn)
        _request_directs(turn, begun)
        _start_syncs(turn, begun)
        if seen == len(turn.events):  # what a sync that was given up leaves free goes to other syncs first
            _start_evaluations(turn, begun)
    if turn.again and not turn.events:
        entry = turn.state.requested.first()
        assert entry is not None, "the sync that was to be started is gone"
        sync.start(turn, entry[1])


def wake_at(turn: Turn) -> int | None:
    """Return when the next timer, retry or cooldown is due; what waits for a slot or a run needs no timer."""
    state = turn.state
    if turn.full:
        return turn.now + 1
    if state.closing is not None or state.closed:
        return None
    if turn.again:
        return turn.now + 1
    times = [state.looks.next_after(turn.now), state.requested.next_after(turn.now)]
    if state.halted is None:
        times.append(state.directs.next_after(turn.now))
    return min((at for at in times if at is not None), default=None)


def _once(begun: set[tuple[str, str]], what: str, name: str) -> None:
    if (what, name) in begun:
        raise Unsettled(f"{what} of asset {name!r} starts twice in one decision")
    begun.add((what, name))


def _withdraw(turn: Turn) -> None:
    """While the session is halted take back what was requested and has not started, but for manual syncs."""
    if turn.state.halted is None:
        return
    for _, name in turn.state.requested:
        if turn.full:
            return
        sync.withdraw(turn, name, "halted")


def _request_directs(turn: Turn, begun: set[tuple[str, str]]) -> None:
    while turn.state.halted is None and not turn.full:
        entry = turn.state.directs.first()
        if entry is None or entry[0] > turn.now:
            return
        _once(begun, "direct sync", entry[1])
        pair = schedule.direct_pair(turn.asset(entry[1]))
        assert pair is not None, "an asset without a sync is to be synced"
        sync.request(turn, entry[1], "direct", pair[0])


def _start_syncs(turn: Turn, begun: set[tuple[str, str]]) -> None:
    limit = turn.state.settings.max_sync_concurrency
    while workspace.is_ready(turn.state) and not turn.full:
        entry = turn.state.requested.first()
        if entry is None or entry[0] > turn.now or (limit is not None and turn.state.syncing >= limit):
            return
        asset = turn.asset(entry[1])
        holder = lock.holder_of(turn.state, asset)
        if sync.is_forsaken(turn.state, asset):
            _once(begun, "forsaken sync", entry[1])  # a sync that is owed may start in its place
            sync.forsake(turn, entry[1])
        elif sync.is_gated(asset):
            _once(begun, "withdrawal", entry[1])  # a manual sync may start in its place
            sync.withdraw(turn, entry[1], "blocked")
        elif holder is not None:
            _once(begun, _try_of(asset), entry[1])  # what waited behind the one that is given up tries in its place
            lock.tried_in_vain(turn, entry[1], holder)
        elif sync.needs_lock(asset):
            turn.again = True  # its turn comes when nothing else happens; what was requested later waits behind it
            return
        else:
            _once(begun, "sync", entry[1])
            sync.start(turn, entry[1])


def _try_of(asset: Asset) -> str:
    """Name the one try of a lock that a requested sync has in a decision."""
    assert asset.sync is not None, "a lock is tried for a sync that was not requested"
    return f"try of a lock for {asset.sync.command_id or asset.sync.kind}"


def _start_evaluations(turn: Turn, begun: set[tuple[str, str]]) -> None:
    limit = turn.state.settings.max_evaluate_concurrency
    while workspace.is_ready(turn.state) and not turn.full:
        entry = turn.state.looks.first()
        if entry is None or entry[0] > turn.now or (limit is not None and turn.state.evaluating >= limit):
            return
        _once(begun, "evaluation", entry[1])
        evaluate.start(turn, entry[1])
