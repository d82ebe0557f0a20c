"""Why nothing is happening: what a reason is, and how the reasons of many assets become the answer for one.

The core writes each asset's own reasons into its projection (celld/core/explain.py); whoever answers the question
reads those of the asset and of what is above it and calls ``compose``. So a read wakes no cell, and a change upstream
need not be written into everything below it. Pure; ``now`` is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from setpoint.contracts.clock import parse_rfc3339

Code = Literal[
    "SessionClosed", "Sleeping", "WaitingForHost", "WorkspaceFailed", "WorkspaceExclusive", "Halted",
    "AssetSuspended", "SyncRunning", "EvaluationRunning", "WorkspaceStale", "EvaluationFailing", "CooldownUntil",
    "AutoSyncOff", "NoSyncDefined", "LockHeld", "CacheFresh", "ConcurrencyLimit",
    "UpstreamNotEvaluated", "UpstreamDrifted", "UpstreamStale", "UpstreamBusy", "WaitingForInterval",
]  # fmt: skip
"""Every reason there is; docs/explain.md has one row for each."""

SESSION_ROW: Final = ""
"""The name under which the projection keeps what concerns the session as a whole: no asset can have it."""

_TURN: Final = "ConcurrencyLimit"
_PASSIVE: Final = frozenset({"WaitingForInterval", "CacheFresh"})
"""Reasons that say when an asset is looked at next, not what keeps it from being Ready."""

_ROOTS_MAX: Final = 5
_VISITED_MAX: Final = 2000
_PATH_SHOWN_MAX: Final = 6


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason. ``object`` is the asset (empty: the session); instants are RFC 3339.

    ``clears`` says what ends it, ``command`` what a person may type, ``next_check`` when it ends or is looked at by
    itself.
    """

    code: Code
    message: str
    object: str
    clears: str
    since: str | None = None
    next_check: str | None = None
    command: str | None = None


class Seen(msgspec.Struct, frozen=True):
    """What ``compose`` needs of an asset.

    ``blocked``: something above it is not Ready; ``owed``: work is pending; ``to_sync``: a sync is.
    """

    name: str
    known: str
    stale: bool
    state: str
    owed: bool
    blocked: bool
    upstreams: Sequence[str]
    reasons: Sequence[Reason]
    evaluated_at: str | None = None
    to_sync: bool = False

    @property
    def settled(self) -> bool:
        """Tell whether there is nothing to explain: Ready, with nothing running or owed."""
        return self.known == "ready" and not self.stale and not self.owed and not self.busy

    @property
    def busy(self) -> bool:
        """Tell whether a sync or an evaluation is under way."""
        return self.state in ("syncing", "evaluating")

    @property
    def at_fault(self) -> bool:
        """Tell whether it holds back what is below it by itself."""
        return self.known != "ready" or self.stale


def seen(doc: Mapping[str, Any]) -> Seen:
    """Read a row of the projection; what an older code version has not written is missing, not an error."""
    pending = doc.get("pending") or {}
    return Seen(
        doc["name"],
        doc.get("known", "not_evaluated"),
        bool(doc.get("stale")),
        doc.get("state", ""),
        any(value not in (None, False, "none") for value in pending.values()),
        bool(doc.get("blocked_by")),
        tuple(doc.get("upstreams", ())),
        reasons_of(doc),
        (doc.get("last_evaluation") or {}).get("at"),
        pending.get("sync", "none") != "none",
    )


def reasons_of(doc: Mapping[str, Any]) -> tuple[Reason, ...]:
    """Read the reasons in a row of the projection, the session's own row included."""
    return tuple(msgspec.convert(doc.get("reasons", []), list[Reason]))


def compose(
    asset: Seen, above: Callable[[str], Seen | None], session: Iterable[Reason], now_us: int
) -> tuple[Reason, ...]:
    """Return why ``asset`` is as it is, root cause first; empty when it is Ready and nothing is due.

    ``above`` finds an asset by its name; ``session`` are the reasons that concern the session. A reason whose time has
    come is left out: what it held back may start, and if it does not it waits for its turn.
    """
    roots = _roots(asset, above)
    held = [one for one in (asset, *(root for root, _ in roots)) if not one.settled or _has_turn(one, now_us)]
    found = [reason for reason in session if _concerns(reason, held)]
    stops = any(reason.code != "Halted" for reason in found)
    halted = len(found) > stops
    for root, path in roots:
        own = _own(root, now_us, stops, halted)
        found += [*(reason for reason in own if reason.code not in _PASSIVE)]
        found.append(_upstream(root, path))
    own = _own(asset, now_us, stops, halted or bool(roots))
    return tuple(dict.fromkeys([*found, *own]))


def _concerns(reason: Reason, held: Sequence[Seen]) -> bool:
    if reason.code == "Halted":  # what is synced under a halt was asked for by a person
        return any(one.state != "syncing" and (one.at_fault or one.to_sync) for one in held)
    return bool(held)


def _own(one: Seen, now_us: int, stops: bool, explained: bool) -> list[Reason]:
    """Return an asset's own reasons as of now; ``stops``: nothing of the session starts, whoever's turn it is."""
    found = [reason for reason in one.reasons if _holds(reason, now_us) and not (stops and reason.code == _TURN)]
    if stops or explained or one.settled or any(reason.code not in _PASSIVE for reason in found):
        return found
    return [turn_of(one.name), *found]


def turn_of(name: str, since: str | None = None) -> Reason:
    """Return the reason of an asset whose work may start from ``since`` on: its reader leaves it out until then."""
    return Reason(
        _TURN,
        f"{name} waits for its turn: as much runs as maxEvaluateConcurrency and maxSyncConcurrency allow",
        name,
        "a run of the session ends",
        since,
    )


def _has_turn(one: Seen, now_us: int) -> bool:
    return any(reason.code == _TURN and _holds(reason, now_us) for reason in one.reasons)


def _holds(reason: Reason, now_us: int) -> bool:
    if reason.code == _TURN:
        return reason.since is None or parse_rfc3339(reason.since) <= now_us
    return reason.next_check is None or parse_rfc3339(reason.next_check) > now_us


def _roots(asset: Seen, above: Callable[[str], Seen | None]) -> list[tuple[Seen, tuple[str, ...]]]:
    """Return the assets above that hold ``asset`` back and are held back by nothing themselves, nearest first.

    Each comes with the way down from it to ``asset``. Iterative and bounded: chains may be long.
    """
    found: list[tuple[Seen, tuple[str, ...]]] = []
    below: dict[str, str] = {asset.name: ""}
    waiting = [asset] if asset.blocked else []
    for current in waiting:
        for name in current.upstreams:
            upstream = above(name) if name not in below else None
            if upstream is None or len(below) > _VISITED_MAX:
                continue
            below[name] = current.name
            if upstream.blocked:
                waiting.append(upstream)
            elif upstream.at_fault:
                found.append((upstream, _way(below, name)))
        if len(found) >= _ROOTS_MAX:
            break
    return found[:_ROOTS_MAX]


def _way(below: Mapping[str, str], name: str) -> tuple[str, ...]:
    way = [name]
    while below[way[-1]]:
        way.append(below[way[-1]])
    return tuple(way)


def _upstream(root: Seen, path: tuple[str, ...]) -> Reason:
    shown = path if len(path) <= _PATH_SHOWN_MAX else (*path[:3], "...", *path[-2:])
    way = " -> ".join(shown)
    command = f"setpoint explain {root.name}"
    if root.known == "drifted":
        said = f"{root.name} is Drifted, and {path[-1]} is made of it ({way})"
        return Reason("UpstreamDrifted", said, root.name, f"{root.name} is Ready", root.evaluated_at, None, command)
    if root.known == "ready":
        said = f"what is known of {root.name} is stale, and {path[-1]} is made of it ({way})"
        return Reason("UpstreamStale", said, root.name, f"{root.name} is evaluated again", None, None, command)
    said = f"{root.name} has no verdict yet, and {path[-1]} is made of it ({way})"
    return Reason("UpstreamNotEvaluated", said, root.name, f"{root.name} is Ready", None, None, command)
