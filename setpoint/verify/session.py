"""One session held against all rules: what ``setpoint verify`` prints. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from setpoint.contracts.clock import parse_rfc3339
from setpoint.contracts.event import Event
from setpoint.verify import commands, log
from setpoint.verify.finding import Finding, Findings

RULES: Final = ("gaps", "epochs", "owners", "executions", "overlaps", "commands", "results")
"""The rules by name, as findings name them."""


def findings(events: Sequence[Event], told: Mapping[str, str], *, head_seq: int, closed: bool) -> list[Finding]:
    """Return what is wrong with a session, in the order of seqs; nothing is an empty list.

    ``told``: command id -> status, ``head_seq`` and ``closed``: the session, all three as the API said before
    ``events`` were read. An open session may have executions and commands that go on; a closed one may not.
    """
    found = [*log.gaps(events), *_too_short(events, head_seq), *log.epochs(events), *log.owners(events)]
    found += log.executions(events, begun_by=None if closed else -1)
    found += log.overlaps(events)
    found += commands.ends(events, closed=closed)
    found += commands.results(events, told)
    return sorted(found, key=lambda finding: finding.seq)


def event_of(shown: Mapping[str, Any]) -> Event:
    """Return an event that the API has shown. Raises KeyError and ValueError on anything else."""
    return Event(
        shown["seq"],
        shown["type"],
        parse_rfc3339(shown["at"]),
        shown["session_id"],
        (shown["epoch"][0], shown["epoch"][1]),
        shown["data"],
        shown["v"],
        shown.get("command_id"),
        shown.get("asset"),
        shown.get("execution_id"),
    )


def _too_short(events: Sequence[Event], head_seq: int) -> Findings:
    if len(events) < head_seq:
        yield Finding(len(events), "gaps", f"the log ends here, and the session stands at seq {head_seq}")
