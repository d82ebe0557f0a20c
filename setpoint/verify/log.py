"""Rules of the log itself: no gap, epochs and owners, no sync of an asset over another, ends.

``setpoint verify`` holds a session against them by way of ``session``, and so do the checkers of the simulation and of
chaos. Every rule takes events in the order of their commits, oldest first, from seq 1 on, and is pure. None of them
looks at a clock: the hosts that write a log need not agree about the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from setpoint.contracts.event import Event
from setpoint.verify.finding import Finding, Findings

SYNC_ENDS: Final = frozenset(
    f"sync.{word}" for word in ("succeeded", "failed", "cancelled", "skipped", "outcome_unknown")
)
EVALUATION_ENDS: Final = frozenset({"evaluation.completed", "evaluation.failed"})
_FAMILIES: Final = (
    ("sync.started", SYNC_ENDS, "sync."),
    ("evaluation.started", EVALUATION_ENDS, "evaluation."),
    ("tool.started", frozenset({"tool.finished"}), "tool."),
)
_GIVEN_UP: Final = frozenset({"lease.released", "session.hibernated", "session.closed"})


def gaps(log: Sequence[Event]) -> Findings:
    """The seqs are 1, 2, 3 and so on. One finding at most: all that follows a gap is out of place."""
    for place, event in enumerate(log, 1):
        if event.seq != place:
            yield Finding(event.seq, "gaps", f"{event.type} stands at place {place}")
            return


def epochs(log: Sequence[Event]) -> Findings:
    """An epoch never goes back, and each begins with its one ``lease.acquired``."""
    last = (0, 0)
    for event in log:
        acquires = event.type == "lease.acquired"
        if event.epoch < last:
            yield Finding(event.seq, "epochs", f"{event.type} is of epoch {_epoch(event.epoch)} after {_epoch(last)}")
        elif event.seq > 1 and acquires != (event.epoch > last):
            yield Finding(event.seq, "epochs", f"{event.type} of epoch {_epoch(event.epoch)} follows {_epoch(last)}")
        last = max(last, event.epoch)


def owners(log: Sequence[Event]) -> Findings:
    """A session that was given up is written by nobody, and a host from which it was taken never owns it again.

    Taken: the next owner acquired it without its being given up. Then the former owner's incarnation is fenced; the
    host comes back under another.
    """
    free = True
    owner = ""
    fenced: set[str] = set()
    for event in log:
        if event.type == "lease.acquired":
            if not free:
                fenced.add(owner)
            owner, free = str(event.data.get("incarnation", "")), False
            if owner and owner in fenced:
                host = event.data.get("host", "")
                yield Finding(
                    event.seq, "owners", f"{host} acquires as {owner}, from which the session was taken before"
                )
        elif free and event.seq > 1:
            yield Finding(event.seq, "owners", f"{event.type} was written when nobody owned the session")
        if event.type in _GIVEN_UP:
            free = True


def executions(log: Sequence[Event], *, begun_by: int | None = None) -> Findings:
    """Each sync, evaluation and tool that started ends once, and nothing ends or goes on that has not started.

    ``begun_by``: only what began up to this instant (microseconds) has to have ended; None: all of it.
    """
    for started, ends, family in _FAMILIES:
        yield from _of_family(log, started, ends, family, begun_by)


def overlaps(log: Sequence[Event]) -> Findings:
    """No sync of an asset starts while another has not ended; so a new owner settles what it finds first."""
    running: dict[str, str] = {}
    for event in log:
        asset, execution = event.asset or "", event.execution_id or ""
        if event.type == "sync.started":
            if asset in running:
                yield Finding(event.seq, "overlaps", f"{execution} of {asset} starts while {running[asset]} runs")
            running[asset] = execution
        elif event.type in SYNC_ENDS and running.get(asset) == execution:
            del running[asset]


def _of_family(log: Sequence[Event], started: str, ends: frozenset[str], family: str, begun_by: int | None) -> Findings:
    open_: dict[str, Event] = {}
    ended: dict[str, int] = {}
    for event in log:
        execution = event.execution_id
        if execution is None or not event.type.startswith(family):
            continue
        if event.type == started:
            if execution in open_ or execution in ended:
                yield Finding(event.seq, "executions", f"{event.type} of {execution}, which started before")
            open_[execution] = event
        elif execution not in open_:
            when = f"ended at seq {ended[execution]}" if execution in ended else "never started"
            if event.type in ends or not _tells_of_skipped(event):
                yield Finding(event.seq, "executions", f"{event.type} of {execution}, which {when}")
        elif event.type in ends:
            ended[execution] = event.seq
            del open_[execution]
    for execution, event in open_.items():
        if begun_by is None or event.at <= begun_by:
            yield Finding(event.seq, "executions", f"{event.type} of {execution} has no end")


def _tells_of_skipped(event: Event) -> bool:
    """Tell whether an event tells of a stage after the one that failed: these are recorded, as skipped."""
    return event.type == "sync.step_finished" and event.data.get("error") == "skipped"


def _epoch(epoch: tuple[int, int]) -> str:
    return f"{epoch[0]}.{epoch[1]}"
