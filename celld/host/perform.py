"""Effects are performed here and nowhere else: one exhaustive match, called after the decision is in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from celld.host.runs import Runs
from celld.plane.ownership import Mode
from setpoint import failpoints
from setpoint.contracts import cell as frames


def perform(effect: frames.Effect, first_seq: int, runs: Runs, release: Callable[[Mode], None]) -> None:
    """Begin to carry out one effect of a decision whose first event is at ``first_seq``; what comes of it is an input.

    A run is started under the seq of its started event: ``seq`` where the effect names it, else by its offset.
    """
    failpoints.hit("celld.effect.before")
    match effect:
        case frames.Materialize():
            runs.materialize(effect)
        case frames.StartRun():
            runs.start(effect, effect.seq or first_seq + effect.seq_offset)
        case frames.RecoverRun():
            runs.recover(effect)
        case frames.AttachRun():
            runs.attach(effect)
        case frames.CancelRun():
            runs.cancel(effect)
        case frames.Release():
            release(effect.mode)
        case _:
            assert_never(effect)
