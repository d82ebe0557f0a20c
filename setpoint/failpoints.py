"""Named failpoints: places where a test may kill, freeze or fail a real process, one instruction precise.

They are armed by environment only and cost one dictionary look-up otherwise. ``SETPOINT_FAILPOINTS`` is a list such as
``celld.run.before_send=stop@1;sandboxd.start.after_ledger=kill@2``: name, action, and the how-manieth hit acts.
Actions: ``kill`` (SIGKILL to itself), ``stop`` (SIGSTOP to itself), ``error`` (raise FailpointHit).
With ``SETPOINT_FAILPOINTS_DIR`` a hit that acts first leaves a file of the failpoint's name there, for the test to see.
A daemon with armed failpoints says so at start and in ``/healthz``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path


class FailpointHit(Exception):
    """Raised by a failpoint armed with ``error``."""


def parse(text: str) -> dict[str, tuple[str, int]]:
    """Read the setting into name -> (action, nth hit). Raises ValueError when it is malformed."""
    armed: dict[str, tuple[str, int]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, _, rest = part.partition("=")
        action, _, nth = rest.partition("@")
        if action not in ("kill", "stop", "error") or not (nth or "1").isdigit():
            raise ValueError(f"SETPOINT_FAILPOINTS: {part!r} is not name=kill|stop|error[@n]")
        armed[name] = (action, int(nth or "1"))
    return armed


class Failpoints:
    """The armed failpoints of one process and how often each was passed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.armed = parse(environ.get("SETPOINT_FAILPOINTS", ""))
        self._marks = environ.get("SETPOINT_FAILPOINTS_DIR")
        self._passed: dict[str, int] = {}

    def hit(self, name: str) -> None:
        """Pass the failpoint ``name``; acts when it is armed and this is its turn."""
        plan = self.armed.get(name)
        if plan is None:
            return
        self._passed[name] = self._passed.get(name, 0) + 1
        action, nth = plan
        if self._passed[name] != nth:
            return
        if self._marks:
            (Path(self._marks) / name).write_text(str(os.getpid()))
        if action == "error":
            raise FailpointHit(name)
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


FAILPOINTS = Failpoints(os.environ)
"""The failpoints of this process: the one state a module may hold, because the environment is its owner."""


def hit(name: str) -> None:
    """Pass the failpoint ``name`` of this process."""
    FAILPOINTS.hit(name)
