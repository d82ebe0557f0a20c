"""The log itself: I1 (no gap), I2 and I3 (epochs and fencing), I24 (an end is an end), I26 (no sync over another).

Each check yields one line per violation. The chaos checker has the same rules by way of these functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from setpoint.contracts.event import COMMAND_ENDS, Event
from tests.sim.story import EVALUATION_ENDS, SYNC_ENDS, Findings, Story, at

_NEVER: Final = 1 << 62
_GRACE_US: Final = 120_000_000


def gaps(log: Sequence[Event]) -> Findings:
    """I1: in the order of commits the seqs are 1, 2, 3 and so on."""
    for place, event in enumerate(log, 1):
        if event.seq != place:
            yield f"seq {event.seq} stands at place {place}"
            return


def epochs(log: Sequence[Event]) -> Findings:
    """I2, I3: in the order of commits an epoch never goes back, and each begins with its one ``lease.acquired``."""
    last = (0, 0)
    for event in log:
        acquires = event.type == "lease.acquired"
        if event.epoch < last:
            yield f"{at(event)} is of epoch {event.epoch} after {last}"
        elif event.seq > 1 and acquires != (event.epoch > last):
            yield f"{at(event)} of epoch {event.epoch} follows epoch {last}"
        last = max(last, event.epoch)


def released(log: Sequence[Event]) -> Findings:
    """I2, I3: a session that was given up has no owner that writes, and a closed one nobody at all."""
    free = False
    for event in log:
        if free and event.type != "lease.acquired":
            yield f"{at(event)} was written when nobody owned the session"
        if event.type in ("lease.released", "session.hibernated", "session.closed"):
            free = True
        elif event.type == "lease.acquired":
            free = False


def terminals(log: Sequence[Event], over: int = _NEVER) -> Findings:
    """I24: each execution that started ends once, nothing ends that did not start, nothing follows the end.

    ``over``: what started after this instant need not have ended.
    """
    for started, ends, family in (
        ("sync.started", SYNC_ENDS, "sync."),
        ("evaluation.started", EVALUATION_ENDS, "evaluation."),
        ("tool.started", frozenset({"tool.finished"}), "tool."),
    ):
        yield from _family(log, started, ends, family, over)


def _family(log: Sequence[Event], started: str, ends: frozenset[str], family: str, over: int) -> Findings:
    open_: dict[str, Event] = {}
    ended: dict[str, int] = {}
    for event in log:
        execution = event.execution_id
        if execution is None or not event.type.startswith(family):
            continue
        if event.type == started:
            if execution in open_ or execution in ended:
                yield f"{at(event)} starts {execution} again"
            open_[execution] = event
        elif execution not in open_:
            when = f"ended at {ended[execution]}" if execution in ended else "never started"
            if event.type in ends or not _finishes_stages(event):
                yield f"{at(event)} is of {execution}, which {when}"
        elif event.type in ends:
            ended[execution] = event.seq
            del open_[execution]
    for execution, event in open_.items():
        if event.at <= over:
            yield f"{at(event)} of {execution} has no end"


def _finishes_stages(event: Event) -> bool:
    """Tell whether an event tells of a stage after the one that failed: these are recorded, as skipped."""
    return event.type == "sync.step_finished" and event.data.get("error") == "skipped"


def command_ends(log: Sequence[Event]) -> Findings:
    """I24: each accepted command ends once, after it was accepted, and no other one does."""
    accepted: dict[str, int] = {}
    ended: dict[str, int] = {}
    for event in log:
        command = event.command_id
        if command is None:
            continue
        if event.type == "command.accepted":
            if command in accepted:
                yield f"{at(event)} accepts {command} again, after {accepted[command]}"
            accepted[command] = event.seq
        elif event.type in COMMAND_ENDS:
            if command in ended:
                yield f"{at(event)} ends {command} again, after {ended[command]}"
            elif command not in accepted:
                yield f"{at(event)} ends {command}, which was not accepted"
            ended[command] = event.seq


def overlaps(log: Sequence[Event]) -> Findings:
    """I26: no sync of an asset starts while another has not ended; so a new epoch resolves what it finds first."""
    running: dict[str, str] = {}
    for event in log:
        asset, execution = event.asset or "", event.execution_id or ""
        if event.type == "sync.started":
            if asset in running:
                yield f"{at(event)} starts {execution} while {running[asset]} runs"
            running[asset] = execution
        elif event.type in SYNC_ENDS and running.get(asset) == execution:
            del running[asset]


def check(story: Story) -> Findings:
    """Hold one session against all of them."""
    for rule in (gaps, epochs, released, command_ends, overlaps):
        yield from rule(story.log)
    yield from terminals(story.log, story.ended_at - _GRACE_US)
