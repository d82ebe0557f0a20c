"""One convergence as it was measured."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """Seconds on the wall and of CPU from all Drifted to all Ready, and what was done for it.

    ``tiers`` has the CPU seconds of each part, ``counts`` how often something was done, where that is known.
    """

    wall_s: float
    cpu_s: float
    evaluations: int
    syncs: int
    tiers: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
