"""Which host to use: the one it had when that is fine, else the better of two drawn by lot.

Pure: the hosts, the draw and all loads are arguments. ``registry`` calls it with what it knows; the answer is advice
only, because acquire (a cell host) and start (a sandbox host) decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

OVERLOADED: Final = 0.9
"""From this share of its room on a host keeps what it has, but is no longer preferred for having had a session."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that lives and takes new sessions. ``used`` and ``room`` count the same thing; 0 room is unknown."""

    host: str
    address: str
    incarnation: str
    used: int = 0
    room: int = 0

    @property
    def is_full(self) -> bool:
        """Tell whether the host has said that it has no room left."""
        return 0 < self.room <= self.used

    @property
    def share(self) -> float:
        """Return how much of its room is used, 0 when it never said how much it has."""
        return self.used / self.room if self.room else 0.0


def choose(candidates: Sequence[Candidate], draw: int, *, sticky: str = "", avoid: str = "") -> Candidate | None:
    """Return the host to use, None when none has room.

    ``draw`` is any non-negative random integer: it picks two hosts by lot, and the less loaded one is returned. Two by
    lot spread nearly as well as the best of all, and many brokers with old figures do not all pick the same host.
    ``sticky`` wins while it is among the candidates and not overloaded; ``avoid`` is never returned.
    """
    open_ = [candidate for candidate in candidates if not candidate.is_full and candidate.host != avoid]
    for candidate in open_:
        if candidate.host == sticky and candidate.share < OVERLOADED:
            return candidate
    if not open_:
        return None
    first, second = _two(len(open_), draw)
    return min((open_[first], open_[second]), key=lambda candidate: (candidate.share, candidate.used))


def _two(count: int, draw: int) -> tuple[int, int]:
    """Turn one number into two different places below ``count``, each pair as likely as any other."""
    if count == 1:
        return 0, 0
    first = draw % count
    second = draw // count % (count - 1)
    return first, second + (second >= first)
