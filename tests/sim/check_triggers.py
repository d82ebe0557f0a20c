"""I16: a trigger that comes while the sync it asks for runs is answered by it; one that comes later by exactly one.

An account of its own: which triggers of each asset no sync has answered yet. A direct sync without one is one sync too
many; a trigger that nothing answered and nobody owes at the end was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from setpoint.contracts.event import Event
from tests.sim.story import Findings, Specs, Story, at


@dataclass(slots=True)
class _Sync:
    """The sync of an asset that is requested or runs."""

    seq: int
    kind: str
    pair: int
    stages: tuple[str, ...]
    whole: bool
    takes: bool
    ok: bool = True
    over: bool = False
    outdated: int = 0
    merged: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Asset:
    """The triggers (seqs) that nothing has answered, and the sync in flight."""

    pending: list[int] = field(default_factory=list)
    sync: _Sync | None = None


class Triggers:
    """The account of a session. ``met`` counts what happened to triggers, for the report of a run."""

    def __init__(self, story: Story) -> None:
        self.specs = Specs(story)
        self.assets: dict[str, _Asset] = {}
        self.met: list[str] = []

    def pending(self, name: str) -> list[int]:
        """Return the triggers of an asset that nothing has answered."""
        one = self.assets.get(name)
        return one.pending if one is not None else []

    def feed(self, event: Event) -> Findings:
        """Take an event in and say what is wrong with it."""
        if self.specs.feed(event):
            self._applied(event)
        if event.type == "asset.ready":
            self._ready(event)
        if event.asset is None or event.asset not in self.specs.assets:
            return
        one = self.assets.setdefault(event.asset, _Asset())
        match event.type:
            case "sync.requested":
                data = event.data
                if data["kind"] == "direct" and not one.pending:
                    yield f"{at(event)}: a direct sync that no trigger asks for"
                one.sync = _Sync(
                    event.seq, data["kind"], data["pair"], tuple(data["stages"]), data["whole"], data["takes_direct"]
                )
            case "sync.step_finished" if one.sync is not None:
                self._stage(event.asset, one, one.sync, event)
            case "sync.cancelled" if one.sync is not None:
                if one.sync.takes:
                    one.pending = [seq for seq in one.pending if seq > one.sync.seq]
                one.sync = None
            case "sync.skipped" | "sync.outcome_unknown" | "sync.succeeded":
                one.sync = None

    def _applied(self, event: Event) -> None:
        for name in self.specs.changed:
            spec = self.specs.assets.get(name)
            if spec is None or not spec.pairs:
                self.assets.pop(name, None)
            elif (one := self.assets.get(name)) is not None and one.sync is not None and not one.sync.outdated:
                one.sync.outdated = event.seq

    def _ready(self, event: Event) -> None:
        for name in event.data["triggers"]:
            one = self.assets.setdefault(name, _Asset())
            one.pending.append(event.seq)
            if one.sync is not None and not one.sync.over:
                fits = one.sync.whole and one.sync.ok and one.sync.pair == self.specs.wanted(name)
                if fits and not one.sync.outdated:
                    one.sync.merged.add(event.seq)
                merges = event.seq in one.sync.merged
                self.met.append("trigger merged" if merges else "trigger beside a sync")
            elif one.sync is not None:
                self.met.append("trigger after the end")

    def _stage(self, name: str, one: _Asset, sync: _Sync, event: Event) -> None:
        sync.ok = sync.ok and event.data.get("exit_code") == 0
        if not sync.ok:
            sync.over = True
        if event.data["name"] != sync.stages[-1] or not sync.ok:
            return
        sync.over = True
        if not sync.whole:
            return
        answered = [seq for seq in one.pending if (sync.takes if seq < sync.seq else seq in sync.merged)]
        if any(seq > sync.seq for seq in answered):
            self.met.append("sync subsumed")
        one.pending = [seq for seq in one.pending if seq not in answered]


def check(story: Story) -> Findings:
    """Hold one session against the rule."""
    triggers = Triggers(story)
    for event in story.log:
        yield from triggers.feed(event)
    yield from _lost(story, triggers)


def _lost(story: Story, triggers: Triggers) -> Findings:
    closed = any(event.type == "session.closed" for event in story.log)
    for name, one in triggers.assets.items():
        spec = triggers.specs.assets.get(name)
        if closed or spec is None or not spec.auto_sync_on_drift or triggers.specs.wanted(name) is None:
            continue
        owed = story.docs.get(name, {}).get("pending", {}).get("sync") == "direct"
        since = _changed(story, name)
        if not owed and any(seq > since for seq in one.pending) and not _forwarded(story, name, one.pending[-1]):
            yield f"{name}: the triggers of {one.pending} were neither answered nor are they owed"


def _changed(story: Story, name: str) -> int:
    """Return where the spec of an asset last changed."""
    specs, last = Specs(story), 0
    for event in story.log:
        if specs.feed(event) and name in specs.changed:
            last = event.seq
    return last


def _forwarded(story: Story, name: str, after: int) -> bool:
    """Tell whether the asset handed its trigger on, as one does that may not sync."""
    return any(
        event.type == "asset.ready" and event.asset == name and event.seq > after and event.data.get("forwards")
        for event in story.log
    )
