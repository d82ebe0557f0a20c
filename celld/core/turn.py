"""One decision in the making: events are proposed and folded at once, so that the next rule sees what they changed.

Made by ``decide``, handed from rule to rule. It never touches the state that it began with.
"""

from __future__ import annotations

from typing import Any, Final

from celld.core.evolve import evolve
from celld.core.state import Asset, Execution, State
from setpoint.contracts.cell import CancelRun, Effect
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.event import Event, NewEvent
from setpoint.contracts.ids import execution_id

EVENTS_MAX: Final = 1000
"""Once a decision has this many events it starts nothing more and asks to be called again at once."""


class Turn:
    """The working copy: ``state`` is the fold of everything proposed so far, ``now`` the one instant of all of it."""

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self.events: list[NewEvent] = []
        self.effects: list[Effect] = []
        self.again = False
        """Something is left that needs a decision of its own: it asks to be called again at once."""
        self.looked = 0
        """How many of the events the open commands have been brought on for."""
        self._cancelled: set[str] = set()

    def emit(
        self,
        type_: str,
        asset: str | None = None,
        /,
        *,
        execution_id: str | None = None,
        command_id: str | None = None,
        attachment: bytes | None = None,
        **data: Any,
    ) -> None:
        """Propose an event and fold it. A field that is None is left out of its payload."""
        payload = {key: value for key, value in data.items() if value is not None}
        self.events.append(
            NewEvent(type_, payload, command_id=command_id, asset=asset, execution_id=execution_id or None)
        )
        row = Event(
            self.state.head_seq + 1,
            type_,
            self.now,
            self.state.session_id,
            self.state.epoch,
            payload,
            command_id=command_id,
            asset=asset,
            execution_id=execution_id or None,
            attachment=attachment,
        )
        self.state = evolve(self.state, row)

    @property
    def full(self) -> bool:
        """Tell whether the decision has grown so large that the rest is left to the next one."""
        return len(self.events) >= EVENTS_MAX

    def asset(self, name: str) -> Asset:
        """Return an asset as it is now."""
        return self.state.assets[name]

    def next_execution_id(self) -> str:
        """Return the id of the execution that the next started event begins."""
        return execution_id(self.state.session_id, self.state.epoch, self.state.execution_no)

    def cancel_run(self, execution: Execution | None) -> None:
        """Ask for a run's end, once."""
        if execution is not None and execution.id not in self._cancelled:
            self._cancelled.add(execution.id)
            self.effects.append(CancelRun(execution.id))

    def later(self, seconds: float) -> int:
        """Return the instant ``seconds`` from now."""
        return self.now + round(seconds * 1_000_000)

    def stamp(self, seconds: float) -> str:
        """Return that instant as events write it."""
        return rfc3339(self.later(seconds))
