"""The model of Postgres as the simulation reaches it: calls take time, and in bad times end in every way they can.

Each call has a fate of ``tests.sim.postgres.wire``, drawn here. A held backend commits long after its client has
called again. Nothing but this module calls the model while a world runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from migrations.outcome import Unavailable, Unknown
from tests.sim.kernel import SECOND, Future, Kernel, Scope
from tests.sim.postgres.tables import Tables
from tests.sim.postgres.wire import Fate, Wire

_FATES: Final = (Fate.UNAVAILABLE, Fate.UNDONE, Fate.LOST, Fate.LOST_APPLIED, Fate.LOST_LATE)
_LATE_S_MAX: Final = 15.0


@dataclass(slots=True)
class Span:
    """A bad time: calls that begin until then go wrong at this rate, in these ways."""

    until: int = 0
    rate: float = 0.0
    fates: tuple[Fate, ...] = _FATES


@dataclass(slots=True)
class Database:
    """The database and the ways to it. ``cut_until`` says until when a host cannot reach it."""

    kernel: Kernel
    random: Random
    wire: Wire = field(default_factory=lambda: Wire(Tables()))
    span: Span = field(default_factory=Span)
    cut_until: dict[str, int] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    """How often a call of each kind had each fate but the good one."""

    @property
    def tables(self) -> Tables:
        """Return the rows."""
        return self.wire.db

    def call(self, scope: Scope, who: str, fn: Callable[..., Any], *args: Any) -> Future:
        """Call a function of the schema; fails with one of the faults of ``migrations.outcome``."""
        future, kernel = Future(), self.kernel
        drawn = self.random.random()
        if kernel.now < self.cut_until.get(who, 0):
            scope.later(1.0 + drawn, lambda: future.fail(Unavailable("cut off")))
            return future
        fate = Fate.ANSWERED
        if kernel.now < self.span.until and self.random.random() < self.span.rate:
            fate = self.random.choice(self.span.fates)
            self.fates[f"{fn.__name__} {fate.name}"] += 1
        kernel.later(0.0005 + drawn * 0.002, lambda: self._arrive(scope, who, future, fate, fn, args))
        return future

    def _arrive(
        self, scope: Scope, who: str, future: Future, fate: Fate, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        wire, now = self.wire, self.kernel.now
        if now < self.cut_until.get(who, 0):
            scope.later(1.0, lambda: future.fail(Unknown("cut off")))
            return
        answer, fault = wire.cut(now, fate, fn, *args)
        if fate is Fate.LOST_LATE:
            late = wire.late[-1]
            delay_s = self.random.random() ** 2 * _LATE_S_MAX
            self.kernel.at(now + int(delay_s * SECOND), lambda: wire.land(late, self.kernel.now))
        if fault is None and self.random.random() < 0.5:
            scope.post(lambda: future.give(answer))
        elif fault is None:
            scope.later(0.0005, lambda: future.give(answer))
        else:
            error = fault
            scope.later(0.05, lambda: future.fail(error))
