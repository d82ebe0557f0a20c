"""The order of a run's steps, and what becomes of a step that is not carried out. Pure.

The runner asks ``following`` after every result. The rule (architecture.md section 6): stages stop at the first that
fails and the stages after it are skipped; conditions always run, because a failed sync is verified like a good one;
tool steps run one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from setpoint.contracts.run import Outcome, Step, StepResult

Ending = Literal["cancelled", "orphaned", "interrupted"]
"""Why a run is ended from outside before its steps are through."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Carry this step out."""

    step: Step


@dataclass(frozen=True, slots=True)
class Settle:
    """Do not carry this step out; its result is ``error``."""

    step: Step
    error: Literal["skipped", "cancelled"]


def following(
    steps: tuple[Step, ...], results: Mapping[int, StepResult], ending: Ending | None
) -> Execute | Settle | None:
    """Return what to do next, None when the run is over.

    A cancelled run still gives every step a result. An orphaned or interrupted one gives none for what it did not
    finish: nobody may take its end for an outcome of the step.
    """
    step = next((step for step in steps if step.index not in results), None)
    if step is None or ending in ("orphaned", "interrupted"):
        return None
    if ending == "cancelled":
        return Settle(step, "cancelled")
    if step.kind == "stage" and any(not results[done.index].ok for done in steps if _is_earlier_stage(done, results)):
        return Settle(step, "skipped")
    return Execute(step)


def outcome(steps: tuple[Step, ...], results: Mapping[int, StepResult], ending: Ending | None) -> Outcome:
    """Name how the run as a whole ended.

    A run whose last step ended by itself is completed, even when somebody asked to end it at that very moment.
    """
    through = all(step.index in results and results[step.index].error != "cancelled" for step in steps)
    return "completed" if ending is None or through else ending


def _is_earlier_stage(step: Step, results: Mapping[int, StepResult]) -> bool:
    return step.kind == "stage" and step.index in results
