"""The first and the last event of a command: accepted, and one of its ends."""

from __future__ import annotations

from typing import Any

from celld.core.turn import Turn
from setpoint.contracts.cell import Delivered


def take(turn: Turn, row: Delivered, **data: Any) -> None:
    """Record that a command was accepted: this is what acknowledges its inbox row."""
    turn.emit(
        "command.accepted", command_id=row.command_id, lane=row.lane, inbox_seq=row.inbox_seq, type=row.type, **data
    )


def end(turn: Turn, command_id: str, how: str, **result: Any) -> None:
    """End an open command: ``how`` is succeeded, failed, cancelled or rejected; ``result`` is its answer."""
    command = turn.state.commands[command_id]
    turn.emit(f"command.{how}", command_id=command_id, lane=command.lane, result=result)
