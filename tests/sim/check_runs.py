"""What the commands themselves recorded: I11 (never two syncs of an asset at once), I12 (stages in order, once each).

Beside them I10: what ran was in the log first. The recorder is outside the system, so nothing in it can be tidied up.
"""

from __future__ import annotations

import itertools
from typing import Final

from setpoint.contracts.event import Event
from tests.sim.ground import Mark
from tests.sim.story import Findings, Story

_USED_US: Final = 400_000


def overlaps(story: Story) -> Findings:
    """I11: from the first stage of a run to the end of its last, no stage of another run of that asset runs."""
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for run_id, marks in _runs(story).items():
        ended = max(mark.ended if mark.ended is not None else story.ended_at for mark in marks)
        spans.setdefault(marks[0].asset, []).append((marks[0].began, ended, run_id))
    for asset, found in spans.items():
        found.sort()
        for (_, ended, before), (began, _, after) in itertools.pairwise(found):
            if began < ended:
                yield f"{asset}: {after} began {(ended - began) / 1e6:.3f} s before {before} was over"


def stages(story: Story) -> Findings:
    """I12: the stages of a run go in order, each at most once, and none after one that failed."""
    for run_id, marks in _runs(story).items():
        for before, mark in itertools.pairwise(marks):
            if mark.place <= before.place:
                yield f"{run_id} of {mark.asset}: {mark.name} (step {mark.place}) ran after {before.name}"
            if before.how != "exit 0":
                yield f"{run_id} of {mark.asset}: {mark.name} ran although {before.name} ended by {before.how!r}"


def intents(story: Story) -> Findings:
    """I10: whatever ran had been started in the log, for that asset; and a tool that succeeded ran once."""
    started = {
        event.execution_id: event.asset or "" for event in story.log if event.type in ("sync.started", "tool.started")
    }
    seen: set[str] = set()
    for mark in story.marks:
        if started.get(mark.run_id) != mark.asset:
            yield f"{mark.run_id} of {mark.asset!r} ran and the log never started it"
        if mark.kind == "tool":
            if mark.run_id in seen:
                yield f"{mark.run_id}: a tool ran twice"
            seen.add(mark.run_id)


def successes(story: Story) -> Findings:
    """I10, backwards: a stage that the log calls well run has run to its end."""
    ran = {(mark.run_id, mark.name): mark.how for mark in story.marks}
    for event in story.log:
        if event.type == "sync.step_finished" and event.data.get("exit_code") is not None:
            how = ran.get((event.execution_id or "", event.data["name"]))
            if how != f"exit {event.data['exit_code']}":
                yield f"seq {event.seq}: {event.data['name']} of {event.execution_id} recorded {how!r}"


def workspaces(story: Story) -> Findings:
    """A workspace that has just been made is not given up: that takes at least as long as to find its host away."""
    made: Event | None = None
    for event in story.log:
        if event.type == "workspace.materialized":
            made = event
        elif event.type == "workspace.lost" and made is not None and event.at - made.at < _USED_US:
            yield f"seq {event.seq}: workspace {event.data['workspace_no']} is given up, made at seq {made.seq}"


def check(story: Story) -> Findings:
    """Hold one session against all of them."""
    for rule in (overlaps, stages, intents, successes, workspaces):
        yield from rule(story)


def _runs(story: Story) -> dict[str, list[Mark]]:
    """Return the stages that ran, in order, by run."""
    found: dict[str, list[Mark]] = {}
    for mark in sorted(story.marks, key=lambda mark: mark.began):
        if mark.kind == "stage":
            found.setdefault(mark.run_id, []).append(mark)
    return found
