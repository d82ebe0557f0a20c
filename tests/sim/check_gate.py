"""Who may act: I13 (the gate) and I14 (suspensions and halts), by an account of their own of what is known.

I13 as reconcile.md section 3 has it: verifications, commands and what a trigger asks for are not gated; under
``upstreamPolicy: any`` a direct sync is not either.
"""

from __future__ import annotations

from typing import Final

from setpoint.contracts.event import COMMAND_ENDS, Event
from tests.sim.story import Findings, Specs, Story, at

_GATED: Final = frozenset(
    {"interval", "cron", "initial", "stale", "cooldown", "unblocked", "unhalt", "change", "retry"}
)


class Known:
    """What the log says of each asset: its verdict, whether it is stale, who asked for a look regardless of the gate.

    What was asked for is answered by an evaluation that began later and looked at the newest generation's files. A look
    that is owed anew while that one runs is one with it, and goes as ungated as it did.
    """

    def __init__(self, story: Story) -> None:
        self.specs = Specs(story)
        self.known: dict[str, str] = {}
        self.stale: set[str] = set()
        self.asked: dict[str, int] = {}
        self._commands: dict[str, frozenset[str] | None] = {}
        self._began: dict[str, int] = {}
        self._generation = self._owed = 0

    def blocker(self, name: str) -> str | None:
        """Return an asset above that is not known Ready, or stale; None when the asset is clear."""
        for upstream in self.specs.above(name):
            if self.known.get(upstream) != "ready" or upstream in self.stale:
                return f"{upstream} is {self.known.get(upstream)}{', stale' if upstream in self.stale else ''}"
        return None

    def is_asked(self, name: str) -> bool:
        """Tell whether somebody is owed a look at the asset whatever is above it."""
        return name in self.asked or any(names is None or name in names for names in self._commands.values())

    def feed(self, event: Event) -> None:
        """Take an event in."""
        name = event.asset or ""
        if self.specs.feed(event):
            self._generation, self._owed = event.data["generation"], event.seq
            self._applied(event)
        match event.type:
            case "evaluation.started":
                self._began[name] = event.seq if event.data["generation"] >= self._generation else 0
            case "evaluation.completed":
                self.known[name] = event.data["verdict"]
                self.stale.discard(name)
                began = self._began.get(name, 0)
                if self.asked.get(name, event.seq) < began and self._owed < began:
                    del self.asked[name]
            case "sync.started":
                self.asked.pop(name, None)
            case "workspace.lost":
                self._owed = event.seq
                self.stale |= {one for one in self.known if self.specs.assets[one].pairs}
            case "asset.resumed":
                self.asked[name] = event.seq
            case "asset.ready":
                self.asked |= dict.fromkeys(event.data["triggers"], event.seq)
            case "command.accepted" if event.data["type"] == "evaluate":
                names = event.data.get("names")
                self._commands[event.command_id or ""] = None if names is None else frozenset(names)
                self.asked |= dict.fromkeys(self.specs.assets if names is None else names, event.seq)
            case _ if event.type in COMMAND_ENDS:
                self._commands.pop(event.command_id or "", None)

    def _applied(self, event: Event) -> None:
        for name in self.specs.changed:
            spec = self.specs.assets.get(name)
            if spec is None:
                self.known.pop(name, None)
                self.stale.discard(name)
                self.asked.pop(name, None)
            elif name in self.known:
                self.stale.add(name)
        if event.data.get("evaluate"):
            self.asked |= dict.fromkeys(self.specs.assets, event.seq)


def gate(story: Story) -> Findings:
    """I13: nothing that the gate rules starts while something above is not Ready."""
    known = Known(story)
    for event in story.log:
        name = event.asset or ""
        if event.type == "sync.started" and name in known.specs.assets:
            kind = event.data["kind"]
            patient = kind == "direct" and known.specs.assets[name].upstream_policy == "all"
            blocker = known.blocker(name) if kind == "drift" or patient else None
            if blocker is not None:
                yield f"{at(event)}, {kind}: {blocker}"
        elif event.type == "evaluation.started" and event.data["why"] in _GATED and not known.is_asked(name):
            blocker = known.blocker(name)
            if blocker is not None:
                yield f"{at(event)}, {event.data['why']}: {blocker}"
        known.feed(event)


def stops(story: Story) -> Findings:
    """I14: while an asset is suspended, or the session halted, no sync of the loop's own starts."""
    specs = Specs(story)
    suspended: dict[str, str] = {}
    halted = False
    for event in story.log:
        name = event.asset or ""
        if specs.feed(event):
            for changed in specs.changed:
                if changed not in specs.assets or suspended.get(changed) == "guardrail":
                    suspended.pop(changed, None)
        elif event.type == "asset.suspended":
            suspended[name] = event.data["by"]
        elif event.type == "asset.resumed":
            suspended.pop(name, None)
        elif event.type in ("halt.started", "halt.ended"):
            halted = event.type == "halt.started"
        elif event.type == "sync.started" and event.data["kind"] != "manual":
            if name in suspended:
                yield f"{at(event)}, {event.data['kind']}: suspended by {suspended[name]}"
            if halted:
                yield f"{at(event)}, {event.data['kind']}: the session is halted"


def check(story: Story) -> Findings:
    """Hold one session against both."""
    yield from gate(story)
    yield from stops(story)
