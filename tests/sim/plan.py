"""The plan of one schedule: what is to happen, drawn from its seed as numbered entries before anything runs.

An entry may be left out (``dropped``) without any change to the others, so that a failing schedule can be made
smaller; the same seed and the same entries left out give the same world again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from setpoint.contracts.resource.model import CompiledSet
from tests.sim.projects import project, variant

TENANT: Final = "0198c0de-0000-7000-8000-0000000000aa"
CELL_HOSTS: Final = ("cell-1", "cell-2", "cell-3")
SANDBOX_HOSTS: Final = ("sand-1", "sand-2")
SLEEP: Final = "sleep"
FAULTS_MIN: Final = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong ``at_s`` seconds after the beginning. ``label`` names it: f0, f1, ..."""

    label: str
    at_s: float
    kind: str
    target: str = ""
    other: str = ""
    length_s: float = 0.0
    how: Any = None


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a client does. ``key``: its idempotency key, shared by acts that repeat or abuse one."""

    label: str
    at_s: float
    session: int
    kind: str
    payload: dict[str, Any]
    key: str
    project: int = -1


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """A session: its projects by number (0 is applied first) and how its commands go."""

    session_id: str
    projects: tuple[CompiledSet, ...]
    evaluate_s: float
    sync_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole schedule."""

    seed: int
    sessions: tuple[SessionPlan, ...]
    clients: dict[str, tuple[Act, ...]]
    faults: tuple[Fault, ...]
    offsets_us: tuple[int, ...]
    quality: float
    busy_s: float
    quiet_s: float | None
    """How long a session is quiet before it sleeps; None: no session sleeps in this schedule."""
    dropped: frozenset[str] = field(default_factory=frozenset)

    def labels(self) -> list[str]:
        """Return the labels of what may be left out: sleep, faults, clients, then single acts."""
        acts = [act.label for acts in self.clients.values() for act in acts]
        return [SLEEP, *(fault.label for fault in self.faults), *self.clients, *acts]


def plan(seed: int, dropped: frozenset[str] = frozenset()) -> Plan:
    """Draw the plan of a seed."""
    random = Random(seed)
    busy_s = random.choice((60.0, 90.0, 120.0))
    sessions = tuple(_session(random, place) for place in range(random.choice((1, 2, 3))))
    clients = {
        f"c{place}": tuple(
            _act(random, sessions, f"c{place}", number, busy_s) for number in range(random.randint(4, 9))
        )
        for place in range(random.randint(1, 3))
    }
    faults = tuple(
        _fault(random, sessions, number, busy_s) for number in range(random.randint(FAULTS_MIN, FAULTS_MIN + 9))
    )
    offsets = tuple(random.choice((0, 0, 40_000, -900_000, 3_000_000)) for _ in CELL_HOSTS)
    return Plan(
        seed,
        sessions,
        {name: tuple(sorted(acts, key=lambda act: act.at_s)) for name, acts in clients.items()},
        faults,
        offsets,
        random.choice((1.0, 0.85, 0.6)),
        busy_s,
        random.choice((None, None, 1.0, 4.0)) if SLEEP not in dropped else None,
        dropped,
    )


def _session(random: Random, place: int) -> SessionPlan:
    first = project(random, random.randint(2, 7))
    projects = [first]
    for _ in range(3):
        projects.append(variant(random, projects[-1]))
    return SessionPlan(
        f"0198c0de-0000-7000-8000-{place + 1:012d}",
        tuple(projects),
        random.choice((0.1, 0.5, 2.0)),
        random.choice((0.5, 3.0, 10.0)),
    )


def _act(random: Random, sessions: tuple[SessionPlan, ...], client: str, number: int, busy_s: float) -> Act:
    label, at_s = f"{client}.{number}", random.uniform(2.0, busy_s)
    place = random.randrange(len(sessions))
    names = sorted(sessions[place].projects[0].assets)
    some = random.sample(names, random.randint(1, len(names)))
    kind, payload = random.choice(_ACTS)
    body = {name: some if name == "select" else value for name, value in payload.items()}
    if "asset" in body:
        body["asset"] = some[0]
    key = f"{client}-{number}"
    if number and random.random() < 0.12:
        key = f"{client}-{number - 1}"
    if place and random.random() < 0.03:
        kind, body = "close", {}
    return Act(label, at_s, place, kind, body, key, random.randint(1, 3) if kind == "apply" else -1)


_ACTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("evaluate", {"select": []}),
    ("evaluate", {}),
    ("sync", {"select": []}),
    ("sync", {"select": []}),
    ("sync", {"select": [], "stages": ["run"]}),
    ("suspend", {"select": []}),
    ("suspend", {"select": []}),
    ("resume", {"select": []}),
    ("halt", {"reason": "a test"}),
    ("unhalt", {}),
    ("cancel", {"asset": ""}),
    ("cancel", {"command_id": "last"}),
    ("apply", {}),
    ("apply", {}),
    ("apply", {"evaluate": True}),
    ("tool", {"name": "echo", "args": {"text": "x"}}),
)


def _fault(random: Random, sessions: tuple[SessionPlan, ...], number: int, busy_s: float) -> Fault:
    label, at_s = f"f{number}", random.uniform(3.0, busy_s)
    cell, sand = random.choice(CELL_HOSTS), random.choice(SANDBOX_HOSTS)
    place = random.randrange(len(sessions))
    session = sessions[place]
    name = random.choice(sorted(session.projects[0].assets))
    drawn = random.random()
    kind = random.choice(_FAULTS)
    match kind:
        case "crash host" | "drain" | "mark dead":
            return Fault(label, at_s, kind, cell, length_s=random.uniform(0.3, 15.0), how=drawn < 0.5)
        case "pause host":
            return Fault(label, at_s, kind, cell, length_s=random.choice((3.0, 9.0, 13.0, 25.0, 50.0)))
        case "crash sandbox":
            how = "disk" if drawn < 0.15 else "reboot" if drawn < 0.4 else "process"
            return Fault(label, at_s, kind, sand, length_s=random.choice((0.5, 3.0, 20.0)), how=how)
        case "cut link" | "rough link":
            return Fault(label, at_s, kind, cell, sand, random.choice((0.5, 4.0, 12.0, 40.0)), drawn)
        case "cut database":
            return Fault(label, at_s, kind, cell, length_s=random.choice((2.0, 8.0, 20.0)))
        case "bad database":
            return Fault(
                label, at_s, kind, length_s=random.choice((3.0, 10.0, 30.0)), how=random.choice((0.1, 0.4, 0.8))
            )
        case "drift" | "unknown":
            hold = random.choice(("timeout", "spawn")) if kind == "unknown" else False
            return Fault(label, at_s, kind, str(place), name, random.uniform(5.0, 40.0), (hold, drawn))
        case "bad syncs":
            mode = random.choice(("fail", "vain", "break", "timeout", "spawn"))
            return Fault(label, at_s, kind, str(place), name, random.uniform(10.0, 60.0), mode)
        case _:
            return Fault(label, at_s, kind, str(place))


_FAULTS: Final = (
    "crash host",
    "crash host",
    "pause host",
    "pause host",
    "crash sandbox",
    "crash sandbox",
    "cut link",
    "cut link",
    "rough link",
    "cut database",
    "bad database",
    "bad database",
    "bad database",
    "mark dead",
    "drain",
    "drift",
    "drift",
    "drift",
    "unknown",
    "bad syncs",
    "bad syncs",
    "kill cell",
)
