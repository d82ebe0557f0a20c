"""What the checkers read: the rows of the log and what clients and commands wrote down themselves, session by session.

Made from a history after the world has ended. The checkers may doctor a story to show that they find what is wrong in
it, so all of it is plain values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from celld.plane.key import SessionKey
from setpoint.contracts.event import Event
from setpoint.contracts.resource.model import CompiledAsset, CompiledSet, decode
from tests.sim.client import Post
from tests.sim.ground import Mark
from tests.sim.plan import TENANT
from tests.sim.play import History, is_asleep


@dataclass(slots=True)
class Story:
    """One session. ``log`` in the order of commits; ``docs``: its projection; ``sets``: compiled sets by sha256."""

    session: str
    log: list[Event]
    marks: list[Mark]
    docs: dict[str, Mapping[str, Any]]
    truth: dict[tuple[str, str], Any]
    sets: dict[str, bytes]
    calm_at: int = 0
    ended_at: int = 0
    wake_at: int | None = None
    """When a session that nobody owns is due, by its row; None without one."""


@dataclass(slots=True)
class Stories:
    """All sessions and the clients' history. ``commands``: id -> session, the rows of the table of commands."""

    sessions: list[Story]
    posts: list[Post]
    commands: dict[str, str]
    owners: dict[str, str | None] = field(default_factory=dict)
    """Who owns each session at the end; None for a closed one, missing for one that nobody owns."""


def stories(history: History) -> Stories:
    """Take a history apart."""
    tables = history.tables
    owners: dict[str, str | None] = {}
    sessions = []
    for plan in history.plan.sessions:
        key = SessionKey(TENANT, plan.session_id)
        head = tables.heads[TENANT, plan.session_id]
        if head.state == "closed" or head.owner_host is not None or is_asleep(tables, plan.session_id):
            owners[plan.session_id] = head.owner_host
        sessions.append(
            Story(
                plan.session_id,
                list(tables.events[TENANT, key.session]),
                [mark for mark in history.marks if mark.session == key.session],
                {
                    name: row.doc
                    for name, row in tables.assets.get((TENANT, key.session), {}).items()
                    if isinstance(row.doc, dict)
                },
                {key_[1:]: holds for key_, holds in history.truth.items() if key_[0] == key.session},
                history.blobs,
                history.calm_at,
                history.ended_at,
                wake.wake_at if (wake := tables.wakes.get((TENANT, key.session))) is not None else None,
            )
        )
    commands = {command_id: command.session for (_, command_id), command in tables.commands.items()}
    return Stories(sessions, history.posts, commands, owners)


@functools.lru_cache(maxsize=64)
def compiled(content: bytes) -> CompiledSet:
    """Read a compiled set."""
    return decode(content)


class Specs:
    """The project as the log has it so far: feed it every event, in order."""

    __slots__ = ("_above", "_sets", "assets", "changed", "settings")

    def __init__(self, story: Story) -> None:
        self._sets = story.sets
        self.assets: dict[str, CompiledAsset] = {}
        self.settings = CompiledSet().settings
        self.changed: frozenset[str] = frozenset()
        """What the newest ``resources.applied`` changed, added or took away."""
        self._above: dict[str, tuple[str, ...]] = {}

    def feed(self, event: Event) -> bool:
        """Take an event in; True when it made another project."""
        if event.type != "resources.applied":
            return False
        found = compiled(self._sets[event.data["resources"]])
        before, after = self.assets, found.assets
        self.changed = frozenset(
            name
            for name in before.keys() | after.keys()
            if name not in before or name not in after or before[name].digest != after[name].digest
        )
        self.assets, self.settings, self._above = dict(after), found.settings, {}
        return True

    def above(self, name: str) -> tuple[str, ...]:
        """Return all transitive upstreams of an asset that have conditions."""
        known = self._above.get(name)
        if known is None:
            seen: dict[str, None] = {}
            waiting = list(self.assets[name].upstreams)
            while waiting:
                upstream = waiting.pop()
                if upstream not in seen:
                    seen[upstream] = None
                    waiting += self.assets[upstream].upstreams
            known = self._above[name] = tuple(one for one in seen if self.assets[one].pairs)
        return known

    def wanted(self, name: str) -> int | None:
        """Return the pair whose sync a trigger runs; None when there is none."""
        spec = self.assets[name]
        for place, pair in enumerate(spec.pairs):
            if pair.sync is not None and (pair.sync.name == spec.on_upstream if spec.on_upstream else place == 0):
                return place
        return None


def at(event: Event) -> str:
    """Name the place of an event."""
    return f"seq {event.seq} ({event.type} {event.asset or ''})"


Findings = Iterator[str]
