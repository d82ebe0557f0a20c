"""One schedule, played: a world is made from a plan, lives through its faults, and is left in peace until it rests.

``play`` returns the history; it judges nothing. What makes a schedule fail is the checkers' (``tests/sim/judge.py``),
and an assertion of the core or of the model of the shell.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from celld.core.state import State
from celld.plane.key import SessionKey
from tests.sim.client import Client, Post
from tests.sim.database import Database
from tests.sim.faults import Faults
from tests.sim.ground import Ground, Mark
from tests.sim.host import CellHost
from tests.sim.kernel import SECOND, Kernel
from tests.sim.link import Weather
from tests.sim.plan import CELL_HOSTS, SANDBOX_HOSTS, TENANT, Plan
from tests.sim.postgres import ownership
from tests.sim.postgres.tables import Tables
from tests.sim.rest import at_rest
from tests.sim.rooms import Rooms
from tests.sim.sandbox import SandboxHost

BEGAN: Final = 1_800_000_000 * SECOND
DECISIONS_MIN: Final = 200
_QUIET_S_MAX: Final = 3000.0
_CHUNK_S: Final = 10.0


def is_asleep(tables: Tables, session: str) -> bool:
    """Tell whether a session sleeps: the last that happened to it is that it was given up for want of work."""
    return tables.events[TENANT, session][-1].type == "session.hibernated"


@dataclass(slots=True)
class History:
    """What a schedule leaves behind: the rows, what clients and commands saw, and what was met on the way."""

    plan: Plan
    tables: Tables
    posts: list[Post]
    marks: list[Mark]
    truth: dict[tuple[str, str, str], Any]
    blobs: dict[str, bytes]
    met: Counter[str]
    states: dict[str, State]
    calm_at: int
    ended_at: int
    decisions: int
    faults: int
    steps: int


class Play:
    """A world at work."""

    def __init__(self, plan: Plan, *, refold_every: int = 4) -> None:
        self.plan = plan
        kernel = self.kernel = Kernel(BEGAN)
        source = Random(f"{plan.seed} world")
        ground = Ground(kernel, quality=plan.quality)
        database = Database(kernel, Random(f"{plan.seed} database"))
        rooms = self.rooms = Rooms(kernel, database, ground, source, refold_every=refold_every, quiet_s=plan.quiet_s)
        for place, name in enumerate(SANDBOX_HOSTS):
            rooms.sandboxes[name] = SandboxHost(kernel, ground, name, 1_000_000.0 * (place + 1))
        for cell in CELL_HOSTS:
            for sand in SANDBOX_HOSTS:
                rooms.weather[cell, sand] = Weather(Random(f"{plan.seed} {cell} {sand}"))
        self.hosts = {
            name: CellHost(rooms, name, offset) for name, offset in zip(CELL_HOSTS, plan.offsets_us, strict=True)
        }
        self.clients = {name: Client(rooms, name, self._poke) for name in (*plan.clients, "operator")}
        self.faults = Faults(rooms, plan, self.hosts)

    def run(self) -> History:
        """Live through the schedule."""
        self._begin()
        self.kernel.run(BEGAN + int(self.plan.busy_s * SECOND))
        self._calm()
        self._quiet()
        return self._history()

    def _begin(self) -> None:
        database, operator = self.rooms.database, self.clients["operator"]
        for host in self.hosts.values():
            host.start()
        for place, session in enumerate(self.plan.sessions):
            database.wire.call(
                self.kernel.now, ownership.create_session, TENANT, session.session_id, f"session-{place}"
            )
            for compiled in session.projects:
                self._ground(session.session_id, compiled, session)
            operator.now(session.session_id, "apply", {}, f"first-{place}", session.projects[0])
        dropped = self.plan.dropped
        for name, acts in self.plan.clients.items():
            if name not in dropped:
                chosen = [(act, *self._meant(act)) for act in acts if act.label not in dropped]
                self.clients[name].begin(chosen, BEGAN)
        for fault in self.plan.faults:
            if fault.label not in dropped:
                self.kernel.at(BEGAN + int(fault.at_s * SECOND), functools.partial(self.faults.strike, fault))

    def _meant(self, act: Any) -> tuple[str, Any]:
        session = self.plan.sessions[act.session]
        return session.session_id, session.projects[act.project] if act.project >= 0 else None

    def _ground(self, session_id: str, compiled: Any, session: Any) -> None:
        ground = self.rooms.ground
        for spec in compiled.assets.values():
            ground.evaluate_s[session_id, spec.name] = session.evaluate_s
            ground.sync_s[session_id, spec.name] = session.sync_s
            for condition in spec.conditions():
                ground.truth.setdefault((session_id, spec.name, condition.name), self.rooms.random.random() < 0.5)

    def _poke(self, host: str, session: str) -> None:
        """Carry a hint to an owner; two of three get there."""
        if self.rooms.random.random() < 0.67:
            at = self.hosts[host]
            for key, owner in at.owners.items():
                if key.session == session:
                    at.scope.later(0.002, owner.look)

    def _calm(self) -> None:
        """End all faults, take back what people have stopped, and have everything looked at once more."""
        self.faults.end()
        self.rooms.poll_s = 4.0
        operator = self.clients["operator"]
        self.kernel.run(self.kernel.now + 15 * SECOND)
        for turn in range(2):
            for place, session in enumerate(self.plan.sessions):
                # twice: a halt that somebody asked for before the calm may still be on its way
                operator.now(session.session_id, "unhalt", {}, f"unhalt-{place}-{turn}")
                if stopped := self._suspended(session.session_id):
                    operator.now(session.session_id, "resume", {"select": stopped}, f"resume-{place}-{turn}")
                operator.now(session.session_id, "evaluate", {}, f"evaluate-{place}-{turn}")
            self.kernel.run(self.kernel.now + 15 * SECOND)

    def _suspended(self, session: str) -> list[str]:
        rows = self.rooms.database.tables.assets.get((TENANT, session), {})
        return sorted(name for name, row in rows.items() if isinstance(row.doc, dict) and row.doc.get("suspended"))

    def _quiet(self) -> None:
        """Wait until nothing is left to do, and until the schedule is long enough to count."""
        until = self.kernel.now + int(_QUIET_S_MAX * SECOND)
        rested = 0
        while self.kernel.now < until and (rested < 2 or self.rooms.decisions < DECISIONS_MIN):
            self.kernel.run(self.kernel.now + int(_CHUNK_S * SECOND))
            states = self._states()
            rests = len(states) == len(self.plan.sessions) and all(map(at_rest, states.values()))
            rested = rested + 1 if rests else 0
            if rested >= 2 and self.rooms.decisions < DECISIONS_MIN:
                self._disturb()

    def _disturb(self) -> None:
        """Let things drift once more, and people look."""
        ground, random = self.rooms.ground, self.rooms.random
        for place, session in enumerate(self.plan.sessions):
            keys = [key for key in ground.truth if key[0] == session.session_id]
            if keys:
                ground.truth[random.choice(keys)] = False
            key = f"look-{place}-{self.kernel.now}"
            self.clients["operator"].now(session.session_id, "evaluate", {}, key)

    def _states(self) -> dict[str, State]:
        """Return what the owners hold; a session without one, or with one that is not up to date, is missing.

        One that sleeps has no owner: its log ends with that.
        """
        found: dict[str, State] = {}
        tables = self.rooms.database.tables
        for session in self.plan.sessions:
            head = tables.heads[TENANT, session.session_id]
            state = self.rooms.folded.get(SessionKey(TENANT, session.session_id))
            owned = head.state == "closed" or any(
                key.session == session.session_id and owner.life is not None
                for host in self.hosts.values()
                for key, owner in host.owners.items()
            )
            if state is None:
                continue
            asleep = is_asleep(tables, session.session_id) and state.head_seq == head.head_seq - 1
            if asleep or (owned and (head.state == "closed" or state.head_seq == head.head_seq)):
                found[session.session_id] = state
        return found

    def _history(self) -> History:
        rooms = self.rooms
        return History(
            self.plan,
            rooms.database.tables,
            [post for client in self.clients.values() for post in client.posts],
            rooms.ground.marks,
            rooms.ground.truth,
            rooms.blobs,
            rooms.met + rooms.database.fates,
            self._states(),
            BEGAN + int(self.plan.busy_s * SECOND),
            self.kernel.now,
            rooms.decisions,
            self.faults.applied,
            self.kernel.steps,
        )


def play(plan: Plan, *, refold_every: int = 4) -> History:
    """Play a schedule and return its history. Raises what the core raises, AssertionError of the model's own."""
    return Play(plan, refold_every=refold_every).run()
