"""The way to the model and back: the one place where a call is made to fail, at the word of the caller.

The simulation calls this for its hosts, gateways and brokers. The model itself is deterministic and atomic: a call runs
whole, at the instant at which it arrives. What a network, a killed backend or a held one adds is a ``Fate``, chosen by
the caller for each call; the wire draws nothing by itself. A delay, a lock wait or another order of calls needs no
fate: the caller makes the call later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Concatenate, Final, Generic, NamedTuple, ParamSpec, TypeVar

from migrations.outcome import BadInput, Fault, Retry, Unavailable, Unknown
from tests.sim.postgres import lease
from tests.sim.postgres.tables import Key, Tables

P = ParamSpec("P")
T = TypeVar("T")


class Fate(Enum):
    """What becomes of a call beside its own answer."""

    ANSWERED = auto()
    """It runs and the answer arrives."""
    UNAVAILABLE = auto()
    """There was no connection: nothing ran, and the caller knows it."""
    UNDONE = auto()
    """It ran into a deadlock or a serialization failure and was rolled back: Retry."""
    LOST = auto()
    """The connection broke before it committed: Unknown, and nothing is there."""
    LOST_APPLIED = auto()
    """The connection broke after it committed: Unknown, and it is there."""
    LOST_LATE = auto()
    """The connection broke while a backend is still at it: Unknown, and it commits when the caller lands it."""


class Outcome(NamedTuple, Generic[T]):
    """What the caller gets: an answer, or a fault and no answer. Only Unknown leaves open whether it committed."""

    answer: T | None
    fault: Fault | None


@dataclass(slots=True)
class Late:
    """A call whose client is gone. Landing it runs it; dropping it is a backend that was killed before its commit."""

    name: str
    run: Callable[[], object]

    def land(self, db: Tables, now: int) -> None:
        """Commit it at an instant. What it would have answered is told to nobody; a refusal writes nothing."""
        db.now = now
        try:
            self.run()
        except BadInput:
            return


@dataclass(slots=True)
class Wire:
    """A database and the calls that are still under way in it without a client."""

    db: Tables
    late: list[Late] = field(default_factory=list)

    def call(self, now: int, fn: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
        """Call a function of the schema at an instant of the database's clock, and get its answer or a refusal."""
        self.db.now = now
        try:
            return Outcome(fn(self.db, *args, **kwargs), None)
        except BadInput as error:
            return Outcome(None, error)

    def cut(
        self, now: int, fate: Fate, fn: Callable[Concatenate[Tables, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Outcome[T]:
        """Call with a fate. For LOST_LATE the call is the last of ``late`` afterwards."""
        if fate is Fate.ANSWERED:
            return self.call(now, fn, *args, **kwargs)
        if fate is Fate.UNAVAILABLE:
            return Outcome(None, Unavailable("no connection"))
        if fate is Fate.UNDONE:
            return Outcome(None, Retry("deadlock detected", "40P01"))
        if fate is Fate.LOST_APPLIED:
            self.call(now, fn, *args, **kwargs)
        elif fate is Fate.LOST_LATE:
            self.db.now = now
            self.late.append(Late(fn.__name__, self._begun(fn, args, kwargs)))
        return Outcome(None, Unknown("connection lost"))

    def land(self, late: Late, now: int) -> None:
        """Commit one of ``late`` now."""
        self.late.remove(late)
        late.land(self.db, now)

    def _begun(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
        """Take the snapshot that a running statement works on, where commits beside it make a difference."""
        look = _SNAPSHOTS.get(fn)
        seen = {} if look is None else {"seen": look(self.db, args[0], args[1])}
        return lambda: fn(self.db, *args, **kwargs, **seen)


_SNAPSHOTS: Final[dict[Callable[..., object], Callable[[Tables, str, str], frozenset[Key]]]] = {
    lease.host_register: lease.sessions_before,
    lease.host_dead: lease.sessions_of,
}
"""The two functions that make sessions due without holding their heads: what they saw may have moved meanwhile."""
