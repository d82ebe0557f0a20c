"""Propagation: a Ready that changes something for those below becomes direct triggers (reconcile.md section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from celld.core import schedule
from celld.core.state import Asset, State, Sync
from celld.core.turn import Turn

_TRIGGER_BYTES_MAX: Final = 24 * 1024


def on_ready(turn: Turn, before: Asset, verified: Sync | None) -> None:
    """Propagate a Ready verdict where it must; ``before`` is the asset as it was before the verdict.

    It must when it verifies a whole sync that went well, when the asset was Drifted, and when a trigger that the
    asset itself may not use goes on to those below.
    """
    name = before.name
    changed = before.known == "drifted" or (verified is not None and verified.stages_ok and verified.whole)
    direct = turn.asset(name).direct
    forwards = direct is not None and not direct.forwarded and not may_use(turn.asset(name))
    if not (changed or forwards):
        if before.known != "ready":
            turn.emit("asset.ready", name, triggers=[])
        return
    verifies = verified.execution_id if verified is not None else None
    for index, part in enumerate(_parts(targets(turn.state, name))):
        turn.emit(
            "asset.ready",
            name,
            verifies=verifies,
            triggers=part,
            forwards=True if forwards and index == 0 else None,
        )


def may_use(asset: Asset) -> bool:
    """Tell whether the asset itself syncs for a direct trigger (now or after a wait), rather than handing it on."""
    return schedule.may_sync(asset) and asset.suspended is None


def targets(state: State, name: str) -> list[str]:
    """Return the assets that a trigger of ``name`` reaches, sorted: the direct downstreams, through pass-throughs."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(state.downstreams.get(name, ()))
    while waiting:
        below = waiting.pop()
        if below in seen:
            continue
        seen.add(below)
        if schedule.passes_through(state.assets[below]):
            waiting += state.downstreams.get(below, ())
        else:
            found.add(below)
    return sorted(found)


def _parts(names: list[str]) -> Iterator[list[str]]:
    """Split names so that each part fits an event; at least one part, which may be empty."""
    part: list[str] = []
    size = 0
    for name in names:
        size += len(name) + 3
        if part and size > _TRIGGER_BYTES_MAX:
            yield part
            part, size = [], len(name) + 3
        part.append(name)
    yield part
