"""The fold: one event of the log onto the state. Every change of the state happens in here and nowhere else.

Called by the cell on replay and on ``committed``, and by ``decide`` on the events it has just proposed, so that what
it goes on deciding by is what a replay will see. It never looks at a clock and never decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from celld.core import fold_asset, fold_command, fold_evaluation, fold_lock, fold_session, fold_sync
from celld.core.state import State
from setpoint.contracts.event import TYPES, Event

Fold = Callable[[State, Event], State]


class UnknownEvent(Exception):
    """A type that this version does not know: the session must not be run by it (reconcile.md section 7)."""


def evolve(state: State, event: Event) -> State:
    """Return the state after ``event``; ``state`` itself stays as it was.

    A ``resources.applied`` needs its ``attachment`` (the compiled set). Raises UnknownEvent for a type that is not in
    the closed list, ValueError for an attachment that is none.
    """
    fold = FOLDS.get(event.type)
    if fold is None and event.type not in TYPES:
        raise UnknownEvent(event.type)
    after = fold(state, event) if fold is not None else state
    if event.asset is not None and after.commands:
        after = fold_command.moved(after, event.asset)
    return replace(after, head_seq=event.seq, epoch=event.epoch)


FOLDS: Final[Mapping[str, Fold]] = {
    **fold_session.FOLDS,
    **fold_evaluation.FOLDS,
    **fold_asset.FOLDS,
    **fold_sync.FOLDS,
    **fold_command.FOLDS,
    **fold_lock.FOLDS,
}
"""What each type does to the state. A type of the closed list that is missing here changes nothing but the head."""
