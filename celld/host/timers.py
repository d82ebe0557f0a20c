"""One wake-up at an instant of the wall clock, for a session whose core asked for a ``Tick``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from setpoint import runtime

_LOOK_S: Final = 30.0
"""The wall clock may be set while we wait, so a long wait looks at it again and again."""


class WakeTimer:
    """At most one instant at a time; ``due`` is called once it has come."""

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._pending: asyncio.TimerHandle | None = None
        self.wake_at: int | None = None
        """The instant (microseconds since the epoch) that is waited for, or that came last."""

    def arm(self, wake_at: int | None) -> None:
        """Wait for another instant, or for none."""
        self.disarm()
        self.wake_at = wake_at
        if wake_at is not None:
            self._wait()

    def disarm(self) -> None:
        """Wait for nothing any more."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def is_due(self) -> bool:
        """Tell whether the instant has come."""
        return self.wake_at is not None and runtime.now_us() >= self.wake_at

    def _wait(self) -> None:
        assert self.wake_at is not None, "armed without an instant"
        left_s = max(0.0, (self.wake_at - runtime.now_us()) / 1_000_000)
        self._pending = asyncio.get_running_loop().call_later(min(left_s, _LOOK_S), self._look)

    def _look(self) -> None:
        self._pending = None
        if self.is_due():
            self._due()
        else:
            self._wait()
