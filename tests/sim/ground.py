"""What lies outside the system: whether conditions hold, how the commands of a project go, and who saw them run.

The recorder is what the commands themselves would write down: it is beyond the reach of everything that is tested.
A stage says in its argv what it mends (``projects.py``), so that a run of an older generation does what it did.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final, Literal

from setpoint.contracts.run import RunSpec, Step
from tests.sim.kernel import SECOND, Kernel

Mode = Literal["well", "fail", "vain", "break", "timeout", "spawn"]
Truth = bool | Literal["timeout", "spawn"]

_FAULTY: Final[tuple[Mode, ...]] = ("fail", "vain", "break", "timeout", "spawn")
_SCALE: Final = 2**32


@dataclass(slots=True)
class Mark:
    """A command that ran, as it recorded itself. ``ended`` None: it never wrote its end. Instants: microseconds."""

    session: str
    asset: str
    run_id: str
    epoch: tuple[int, int]
    kind: str
    name: str
    place: int
    host: str
    began: int
    ended: int | None = None
    how: str = ""


@dataclass(slots=True)
class Trouble:
    """A span in which the syncs of an asset go wrong in one way. ``until`` in microseconds."""

    until: int
    mode: Mode


@dataclass(slots=True)
class Ground:
    """The world outside. ``truth`` by (session, asset, condition); ``quality`` is how often a stage goes well."""

    kernel: Kernel
    truth: dict[tuple[str, str, str], Truth] = field(default_factory=dict)
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    evaluate_s: dict[tuple[str, str], float] = field(default_factory=dict)
    sync_s: dict[tuple[str, str], float] = field(default_factory=dict)
    quality: float = 1.0
    marks: list[Mark] = field(default_factory=list)

    def duration_s(self, spec: RunSpec, step: Step) -> float:
        """Return how long a step takes, were it left alone."""
        if step.kind == "stage":
            longest = self.sync_s.get((spec.session, spec.asset), 2.0)
        else:
            longest = self.evaluate_s.get((spec.session, spec.asset), 0.3)
        return longest * (0.2 + 0.8 * draw(spec.run_id, step.index, "t"))

    def begin(self, spec: RunSpec, step: Step, host: str) -> Mark:
        """Note that a command begins."""
        now = self.kernel.now
        mark = Mark(spec.session, spec.asset, spec.run_id, spec.epoch, step.kind, step.name, step.index, host, now)
        if step.kind != "condition":
            self.marks.append(mark)
        return mark

    def end(self, mark: Mark, how: str) -> None:
        """Note that a command is over."""
        mark.ended, mark.how = self.kernel.now, how

    def carry_out(self, spec: RunSpec, step: Step) -> tuple[int | None, Literal["timeout", "spawn"] | None]:
        """Let a step that was left alone have its effect; returns its exit code, or its error."""
        if step.kind == "tool":
            return 0, None
        if step.kind == "condition":
            holds = self.truth.get((spec.session, spec.asset, step.name), False)
            return (0 if holds else 1, None) if isinstance(holds, bool) else (None, holds)
        mode = self._mode(spec, step)
        if mode in ("timeout", "spawn"):
            return None, mode
        if mode == "break":
            for key in self.truth:
                if key[:2] == (spec.session, spec.asset):
                    self.truth[key] = draw(spec.run_id, step.index, key[2]) < 0.5
        if mode == "well" and step.name == "run":
            self.heal(spec, step)
        return (1, None) if mode == "fail" else (0, None)

    def heal(self, spec: RunSpec, step: Step) -> None:
        """Make hold what the stage mends."""
        for condition in step.argv[2].split(","):
            self.truth[spec.session, spec.asset, condition] = True

    def _mode(self, spec: RunSpec, step: Step) -> Mode:
        trouble = self.troubles.get((spec.session, spec.asset))
        if trouble is not None and self.kernel.now < trouble.until:
            return trouble.mode
        if draw(spec.run_id, step.index, "q") < self.quality:
            return "well"
        return _FAULTY[int(draw(spec.run_id, step.index, "m") * len(_FAULTY))]


def draw(run_id: str, index: int, what: str) -> float:
    """Return a number from 0 to 1 that follows from the step alone: the order of other things does not change it."""
    return zlib.crc32(f"{run_id}{index}{what}".encode()) / _SCALE


def seconds(instant: int) -> float:
    """Return an instant in seconds."""
    return instant / SECOND
