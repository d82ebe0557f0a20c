"""The points that a run of the simulation must have seen: what no schedule of a run reaches is not tested by it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from setpoint.contracts.event import Event
from setpoint.verify.log import SYNC_ENDS
from tests.sim.check_triggers import Triggers
from tests.sim.story import Stories, Story

POINTS: Final = (
    "sync subsumed",
    "second sync after the end",
    "trigger kept over a cooldown",
    "trigger kept over a suspension",
    "adopted",
    "found never_seen",
    "found interrupted",
    "outcome unknown",
    "fence lost during a sync",
    "halt during a sync",
    "generation changed during a sync",
    "lock skipped",
    "unknown commit was there",
    "late commit",
    "zombie refused",
    "workspace lost",
    "passed on",
    "cancelled",
    "degraded",
    "fell asleep",
    "sleep raced by a command",
    "several inputs in one decision",
)
"""What ``make sim`` asserts."""


def reached(told: Stories, met: Counter[str]) -> Counter[str]:
    """Count the points of one history: from its rows, and from what hosts and the database met."""
    found: Counter[str] = Counter()
    for name, count in met.items():
        if name in POINTS:
            found[name] += count
        elif name.startswith(("append_batch ", "enqueue ")):
            fate = name.split()[1]
            found["unknown commit was there"] += count * (fate == "LOST_APPLIED")
            found["late commit"] += count * (fate == "LOST_LATE")
        elif name == "append fenced":
            found["zombie refused"] += count
    for story in told.sessions:
        _of_session(story, found)
    return found


def _of_session(story: Story, found: Counter[str]) -> None:
    triggers = Triggers(story)
    syncing: set[str] = set()
    held: dict[str, str] = {}
    for event in story.log:
        list(triggers.feed(event))
        _note(event, triggers, syncing, held, found)
    for name in triggers.met:
        if name in POINTS:
            found[name] += 1
        elif name == "trigger after the end":
            found["second sync after the end"] += 1


def _note(event: Event, triggers: Triggers, syncing: set[str], held: dict[str, str], found: Counter[str]) -> None:
    """Note what one event shows. ``held``: assets whose trigger waits for a cooldown, or under a suspension."""
    name, owed = event.asset or "", event.asset is not None and bool(triggers.pending(event.asset))
    match event.type:
        case "sync.started":
            syncing.add(name)
            if event.data["kind"] == "direct" and name in held:
                found[f"trigger kept over a {held.pop(name)}"] += 1
        case "sync.failed" if owed:
            held[name] = "cooldown"
        case "asset.suspended" if owed:
            held[name] = "suspension"
        case "sync.skipped" if event.data["reason"] == "lock":
            found["lock skipped"] += 1
        case "sync.outcome_unknown":
            found["outcome unknown"] += 1
        case "sync.cancelled":
            found["cancelled"] += 1
        case "run.adopted":
            found["adopted"] += 1
        case "workspace.lost":
            found["workspace lost"] += 1
        case "halt.started" if syncing:
            found["halt during a sync"] += 1
        case "resources.applied" if syncing and event.data["generation"] > 1:
            found["generation changed during a sync"] += 1
    if event.type == "asset.suspended" and str(event.data["reason"]).startswith("degraded"):
        found["degraded"] += 1
    if event.type in SYNC_ENDS:
        syncing.discard(name)
