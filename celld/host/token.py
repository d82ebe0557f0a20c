"""Which reading of a sandbox host's clock may stand behind a start. Pure; kept per link, asked by whatever starts.

A reading counts only when it was received before the last successful lease renewal was sent: then whoever is started
under it began before anybody else could have taken the session over (architecture.md section 5, clock token).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from setpoint.contracts.run import ClockToken

_READINGS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Reading:
    """A token and when it was received (this host's CLOCK_BOOTTIME, seconds)."""

    token: ClockToken
    received_s: float


class Readings:
    """The readings of one connection, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[Reading] = deque(maxlen=_READINGS_MAX)

    def note(self, reading: Reading) -> None:
        """Add the newest reading."""
        self._kept.append(reading)

    def clear(self) -> None:
        """Forget all: the other side may be another process now."""
        self._kept.clear()

    def usable(self, renewal_sent_s: float) -> ClockToken | None:
        """Return the newest token received before the renewal was sent, and forget the ones before it."""
        found: ClockToken | None = None
        while self._kept and self._kept[0].received_s < renewal_sent_s:
            found = self._kept[0].token
            if len(self._kept) == 1 or self._kept[1].received_s >= renewal_sent_s:
                break
            self._kept.popleft()
        return found

    def oldest_unused_s(self) -> float | None:
        """Return when the oldest kept reading was received: a renewal sent after it makes it usable."""
        return self._kept[0].received_s if self._kept else None
