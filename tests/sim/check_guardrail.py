"""I15: the guardrail suspends exactly when its rule holds, counted here anew from the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from setpoint.contracts.event import Event
from tests.sim.story import Findings, Specs, Story, at


@dataclass(slots=True)
class _Asset:
    """What the log says of one asset. ``before``: what was really run before the drift sync that is open."""

    failures: int = 0
    suspended: str = ""
    ran: dict[str, str] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] | None = None
    due: str = ""
    """Why it must be suspended by the decision at hand; empty when it need not be."""


class _Account:
    """The account of a session, event by event."""

    def __init__(self, story: Story) -> None:
        self.specs = Specs(story)
        self.assets: dict[str, _Asset] = {}
        self._at = 0

    def overdue(self) -> Findings:
        """Say who ought to have been suspended by the decision that is over."""
        for name, one in self.assets.items():
            if one.due:
                yield f"{name} ought to be suspended, {one.due}"
                one.due = ""

    def feed(self, event: Event) -> Findings:
        """Take an event in and say what is wrong with it."""
        if event.at != self._at:
            yield from self.overdue()
            self._at = event.at
        if self.specs.feed(event):
            self._applied()
        if event.asset is None or event.asset not in self.specs.assets:
            return
        one = self.assets.setdefault(event.asset, _Asset())
        match event.type:
            case "evaluation.started":
                one.ran = {}
            case "evaluation.step_finished":
                one.ran[event.data["name"]] = event.data["status"]["state"]
            case "evaluation.completed":
                self._completed(one, event)
            case "sync.requested":
                one.before = dict(one.last) if event.data["kind"] == "drift" else {}
            case "sync.cancelled" | "sync.skipped" | "sync.outcome_unknown":
                one.before = None
            case "sync.failed":
                yield from self._failed(one, event)
            case "asset.suspended":
                if event.data["by"] == "guardrail" and not one.due:
                    yield f"{at(event)} for {event.data['reason']!r}: no rule asks for it"
                one.suspended, one.due = event.data["by"], ""
            case "asset.resumed":
                one.suspended, one.failures, one.due = "", 0, ""

    def _applied(self) -> None:
        for name in self.specs.changed:
            one = self.assets.get(name)
            if one is None:
                continue
            if name not in self.specs.assets:
                del self.assets[name]
                continue
            one.failures = 0
            if one.suspended == "guardrail":
                one.suspended = ""
            if not self.specs.assets[name].pairs:
                one.before = None  # nothing is left that could verify the sync that is open

    def _completed(self, one: _Asset, event: Event) -> None:
        if event.data["resets"]:
            one.failures = 0
        after = {result["conditionName"]: result["status"]["state"] for result in event.data["results"]}
        one.last = one.ran
        if one.before is not None and fewer(one.before, after) and not one.suspended:
            one.due = "degraded"
        one.before = None

    def _failed(self, one: _Asset, event: Event) -> Findings:
        one.failures += 1
        if event.data["k"] != one.failures:
            yield f"{at(event)} is the {event.data['k']}. failure, counted here as the {one.failures}."
            one.failures = event.data["k"]
        if one.failures >= self.specs.settings.max_consecutive_sync_failures and not one.suspended:
            one.due = f"{one.failures} failures in a row"


def fewer(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Tell whether fewer conditions hold than before, among those with an answer both times."""
    both = [name for name in before if "unknown" not in (before[name], after.get(name, "unknown"))]
    return sum(after[name] == "ready" for name in both) < sum(before[name] == "ready" for name in both)


def check(story: Story) -> Findings:
    """Hold one session against the rule, in both directions."""
    account = _Account(story)
    for event in story.log:
        yield from account.feed(event)
    yield from account.overdue()
