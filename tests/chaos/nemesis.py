"""Who kills: a schedule drawn from a seed, and its execution on a running stack. It judges nothing.

The schedule is a value, so one seed always means the same faults at the same offsets; what they hit depends on timing.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.acceptance.harness import World

LEASE_TTL_S = 3.0
_HEAL_S = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """At ``at_s`` after the start do ``kind`` (kill, freeze, cell, zygote, postgres) to ``target`` for ``lasts_s``."""

    at_s: float
    kind: str
    target: str
    lasts_s: float


def schedule(seed: int, seconds: float, celld: list[str], sandboxd: list[str], gateways: list[str]) -> list[Fault]:
    """Draw the faults of a run, in order of time."""
    rng = random.Random(seed)
    kinds: list[tuple[int, Callable[[], tuple[str, str, float]]]] = [
        (6, lambda: ("kill", rng.choice(celld), rng.uniform(0.0, 4.0))),
        (5, lambda: ("kill", rng.choice(sandboxd), rng.uniform(0.0, 3.0))),
        (2, lambda: ("kill", "broker", rng.uniform(0.0, 5.0))),
        (3, lambda: ("kill", rng.choice(gateways), rng.uniform(0.0, 2.0))),
        (4, lambda: ("cell", rng.choice(celld), 0.0)),
        (1, lambda: ("zygote", rng.choice(celld), 0.2)),
        (3, lambda: ("freeze", rng.choice(celld), LEASE_TTL_S + rng.uniform(0.5, 3.0))),
        (2, lambda: ("freeze", rng.choice([*sandboxd, *gateways, "broker"]), rng.uniform(0.5, 5.0))),
        (1, lambda: ("postgres", "postgres", rng.uniform(0.0, 2.0))),
    ]
    weights = [weight for weight, _ in kinds]
    faults, at_s = [], 2.0
    while at_s < seconds:
        kind, target, lasts_s = rng.choices([draw for _, draw in kinds], weights)[0]()
        faults.append(Fault(at_s, kind, target, lasts_s))
        at_s += rng.choice((0.05, rng.uniform(0.3, 1.5), rng.uniform(1.0, 4.0)))
    return faults


class Nemesis:
    """Executes a schedule, brings back what died, and heals everything at the end."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world, self._say = world, say
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._away: set[str] = set()
        self._began = time.monotonic()
        self.done: dict[str, int] = {}
        self.died_by_itself: list[str] = []

    def run(self, faults: list[Fault], seconds: float) -> None:
        """Execute the faults; returns after ``seconds``."""
        self._began = time.monotonic()
        for fault in faults:
            self._later(fault.at_s, partial(self._strike, fault))
        pause = threading.Event()
        while (now_s := time.monotonic() - self._began) < seconds:
            self._restart_the_dead()
            while self._due and self._due[0][0] <= now_s:
                heapq.heappop(self._due)[2]()
            pause.wait(0.02)

    def heal(self) -> None:
        """Thaw and restart everything, and wait until it is ready."""
        while self._due:
            heapq.heappop(self._due)
        self._away.clear()
        stack = self._world.stack
        assert stack.cluster is not None
        self._world.run(stack.cluster.start())
        for name in stack.daemons:
            self._send(name, signal.SIGCONT)
        deadline = time.monotonic() + _HEAL_S
        pause = threading.Event()
        while True:
            self._restart_the_dead()
            try:
                self._world.run(stack.wait_ready(*stack.daemons))
                return
            except Exception as error:
                if time.monotonic() > deadline:
                    raise
                self._say(f"not ready yet: {error}")
                pause.wait(0.5)

    def _later(self, at_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at_s, next(self._numbers), action))

    def _strike(self, fault: Fault) -> None:
        hit = {
            "kill": self._kill,
            "freeze": self._freeze,
            "cell": self._kill_cell,
            "zygote": self._kill_zygote,
            "postgres": self._kill_postgres,
        }[fault.kind](fault)
        self._say(
            f"{fault.at_s:6.1f} s {fault.kind} {fault.target} for {fault.lasts_s:.1f} s{'' if hit else ': missed'}"
        )
        if hit:
            name = f"{fault.kind} {fault.target}"
            self.done[name] = self.done.get(name, 0) + 1

    def _kill(self, fault: Fault) -> bool:
        if fault.target in self._away or not self._send(fault.target, signal.SIGKILL):
            return False
        self._away_for(fault)
        return True

    def _freeze(self, fault: Fault) -> bool:
        if not self._send(fault.target, signal.SIGSTOP):
            return False
        self._later(self._now_s() + fault.lasts_s, lambda: self._thaw(fault.target))
        return True

    def _thaw(self, name: str) -> None:
        self._send(name, signal.SIGCONT)

    def _kill_cell(self, fault: Fault) -> bool:
        return self._kill_titled(fault.target, "setpoint: cell")

    def _kill_zygote(self, fault: Fault) -> bool:
        if fault.target in self._away or not self._kill_titled(fault.target, "setpoint: zygote"):
            return False
        self._away_for(fault)
        return True

    def _kill_postgres(self, fault: Fault) -> bool:
        cluster = self._world.stack.cluster
        if cluster is None or cluster.pid is None:
            return False
        os.kill(cluster.pid, signal.SIGKILL)
        self._later(self._now_s() + fault.lasts_s, lambda: self._world.run(cluster.start()))
        return True

    def _kill_titled(self, daemon: str, title: str) -> bool:
        pid = self._world.stack.daemons[daemon].pid
        for child in descendants(pid) if pid is not None else []:
            if title_of(child).startswith(title):
                os.kill(child, signal.SIGKILL)
                return True
        return False

    def _away_for(self, fault: Fault) -> None:
        self._away.add(fault.target)
        self._later(self._now_s() + fault.lasts_s, lambda: self._away.discard(fault.target))

    def _restart_the_dead(self) -> None:
        for name, daemon in self._world.stack.daemons.items():
            if name in self._away or daemon.pid is not None:
                continue
            code = daemon._process.returncode if daemon._process is not None else None
            if code != -signal.SIGKILL:
                self.died_by_itself.append(f"{name} at {self._now_s():.1f} s with {code}: {daemon.last_words()[-300:]}")
            self._world.run(daemon.start())

    def _send(self, name: str, number: int) -> bool:
        pid = self._world.stack.daemons[name].pid
        if pid is None:
            return False
        os.kill(pid, number)
        return True

    def _now_s(self) -> float:
        return time.monotonic() - self._began


def descendants(pid: int) -> list[int]:
    """Return all living descendants of a process."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += children
            waiting += children
    return found


def title_of(pid: int) -> str:
    """Return the process title as ps shows it; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
