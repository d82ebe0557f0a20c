"""What is done to a stack: an endless schedule drawn from a seed. Pure.

One seed always means the same faults after the same pauses; what they hit depends on timing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LEASE_TTL_S: Final = 3.0
KILLS: Final = ("kill", "cell", "zygote", "postgres")
"""The kinds that are a SIGKILL."""
TRAPS: Final = {
    "celld": (
        "celld.run.before_send=kill",
        "celld.run.before_send=kill",
        "celld.run.before_send=stop",
        "celld.run.after_send=kill",
        "celld.effect.before=kill",
        "celld.effect.before=stop",
        "celld.commit.before=kill",
        "celld.commit.before=stop",
        "celld.commit.after=kill",
        "celld.acquire.after=kill",
        "celld.hibernate.before=kill",
    ),
    "sandboxd": (
        "sandboxd.start.before_ledger=kill",
        "sandboxd.start.before_ledger=stop",
        "sandboxd.start.after_ledger=kill",
        "sandboxd.run.before_exec=kill",
        "sandboxd.run.after_exit=kill",
        "sandboxd.run.before_result=kill",
    ),
    "gateway": ("gateway.enqueue.before=kill", "gateway.enqueue.after=kill"),
    "broker": ("broker.join.after_register=kill", "broker.reaper.before_mark=kill"),
}
"""The failpoints a killed daemon may come back with: places where a random kill would hardly ever hit. One that stops
its process is the exact freeze: it is thawed after its lease is over."""
BUSIEST: Final = "celld-busiest"
"""The cell host that runs the most cells at that moment."""
_ROLES: Final = ("setpoint_celld", "setpoint_celld", "setpoint_gateway", "setpoint_broker")


@dataclass(frozen=True, slots=True)
class Fault:
    """After a pause of ``after_s`` do ``kind`` to ``target`` for ``lasts_s``.

    Kinds: kill, freeze (of a daemon), cell, zygote (kill one of a cell host), postgres (kill the postmaster), cut and
    stall (end or freeze one connection of a role), deaf (a cell host's answers from Postgres are lost, and its
    connections with them), apart (what a cell host and Postgres, or a sandbox host and all cell hosts, say to each
    other is held back). A target may be BUSIEST. ``trap``: the failpoint a killed daemon comes back with.
    """

    after_s: float
    kind: str
    target: str
    lasts_s: float
    trap: str = ""


def schedule(seed: int, names: Sequence[str]) -> Iterator[Fault]:
    """Draw faults for the daemons of these names, without end."""
    rng = random.Random(seed)
    celld, sandboxd, gateways, brokers = ([n for n in names if n.split("-")[0] == kind] for kind in TRAPS)
    celld += [BUSIEST] * len(celld)
    kinds: list[tuple[int, Callable[[], tuple[str, str, float]]]] = [
        (9, lambda: ("kill", rng.choice(celld), rng.uniform(0.0, 3.0))),
        (6, lambda: ("kill", rng.choice(sandboxd), rng.uniform(0.0, 2.0))),
        (3, lambda: ("kill", rng.choice(brokers), rng.uniform(0.0, 4.0))),
        (4, lambda: ("kill", rng.choice(gateways), rng.uniform(0.0, 2.0))),
        (6, lambda: ("cell", BUSIEST, 0.0)),
        (2, lambda: ("zygote", rng.choice(celld), 0.2)),
        (1, lambda: ("postgres", "postgres", rng.uniform(0.0, 2.0))),
        (3, lambda: ("freeze", BUSIEST, LEASE_TTL_S + rng.uniform(2.0, 4.0))),
        (2, lambda: ("freeze", rng.choice([*sandboxd, *gateways, *brokers]), rng.uniform(0.5, 5.0))),
        (2, lambda: ("cut", rng.choice(_ROLES), 0.0)),
        (2, lambda: ("stall", rng.choice(_ROLES), rng.uniform(0.5, 6.0))),
        (5, lambda: ("deaf", BUSIEST, rng.uniform(0.1, 0.5))),
        (4, lambda: ("apart", BUSIEST, LEASE_TTL_S + rng.uniform(3.0, 6.0))),
        (1, lambda: ("apart", rng.choice(sandboxd), rng.uniform(0.5, 6.0))),
    ]
    weights = [weight for weight, _ in kinds]
    after_s = 3.0
    while True:
        kind, target, lasts_s = rng.choices([draw for _, draw in kinds], weights)[0]()
        traps = TRAPS[target.split("-")[0]] if kind == "kill" and rng.random() < 0.5 else ()
        trap = f"{rng.choice(traps)}@{rng.choice((1, 2, 3, 5, 10))}" if traps else ""
        yield Fault(after_s, kind, target, lasts_s, trap)
        after_s = rng.choice((0.05, rng.uniform(0.3, 1.5), rng.uniform(1.0, 3.5)))
