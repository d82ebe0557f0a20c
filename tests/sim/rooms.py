"""What all hosts of a world share: its time, its database, its sandbox hosts, its object store, and what was met."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from celld.core.state import State
from tests.sim.database import Database
from tests.sim.ground import Ground
from tests.sim.kernel import Kernel
from tests.sim.link import Weather
from tests.sim.sandbox import SandboxHost

if TYPE_CHECKING:
    from celld.plane.key import SessionKey


@dataclass(slots=True)
class Rooms:
    """The shared part of a world. ``met`` counts what happened that a run must have seen at some time.

    ``folded``: the newest state of each session that a cell of the world has folded from committed events, so that
    the next cell need not fold all of it again; one restore in ``refold_every`` does (0: none).
    """

    kernel: Kernel
    database: Database
    ground: Ground
    random: Random
    sandboxes: dict[str, SandboxHost] = field(default_factory=dict)
    weather: dict[tuple[str, str], Weather] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    folded: dict[SessionKey, State] = field(default_factory=dict)
    slept: dict[SessionKey, tuple[int, bytes]] = field(default_factory=dict)
    """What a shell knew when its session fell asleep, as its snapshot would keep it: at which seq, and the facts."""
    refold_every: int = 4
    poll_s: float = 2.0
    """The pause between polls; really one second, and here longer still when no more faults are to come."""
    quiet_s: float | None = None
    """How long a session is quiet before it sleeps; None: never."""
    decisions: int = 0
    ids: int = 0

    def new_id(self) -> str:
        """Return a fresh id."""
        self.ids += 1
        return f"{self.ids:08x}-0000-7000-9000-000000000000"
