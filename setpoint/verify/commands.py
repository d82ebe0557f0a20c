"""Rules of commands: accepted once, ended once, and told by the API as the log has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from setpoint.contracts.event import COMMAND_ENDS, Event
from setpoint.verify.finding import Finding, Findings

_OPEN: Final = frozenset({"queued", "accepted"})


def ends(log: Sequence[Event], *, closed: bool = False) -> Findings:
    """Each accepted command ends at most once, after it was accepted, and no other one does; ``closed``: each has."""
    accepted: dict[str, int] = {}
    ended: dict[str, int] = {}
    for event in log:
        command = event.command_id
        if command is None:
            continue
        if event.type == "command.accepted":
            if command in accepted:
                yield Finding(event.seq, "commands", f"{command} is accepted again, after seq {accepted[command]}")
            accepted[command] = event.seq
        elif event.type in COMMAND_ENDS:
            if command in ended:
                yield Finding(event.seq, "commands", f"{command} ends again, after seq {ended[command]}")
            elif command not in accepted:
                yield Finding(event.seq, "commands", f"{command} ends and was not accepted")
            ended[command] = event.seq
    for command, seq in accepted.items():
        if closed and command not in ended:
            yield Finding(seq, "commands", f"{command} has no end, and the session is closed")


def results(log: Sequence[Event], told: Mapping[str, str]) -> Findings:
    """What the API says became of a command is what the log says. ``told``: id -> status, read before the log."""
    end = {event.command_id: event for event in log if event.type in COMMAND_ENDS}
    accepted = {event.command_id for event in log if event.type == "command.accepted"}
    for command, status in told.items():
        event = end.get(command)
        if status in _OPEN:
            if status == "accepted" and command not in accepted:
                yield Finding(len(log), "results", f"{command} is accepted by the API and not in the log")
        elif event is None:
            yield Finding(len(log), "results", f"{command} is {status} by the API and has no end in the log")
        elif event.type != f"command.{status}":
            yield Finding(event.seq, "results", f"{command} is {status} by the API and {event.type} by the log")
