"""Who kills: a schedule drawn from a seed, and its execution on a running stack. It judges nothing.

The schedule is a value, so one seed always means the same faults at the same offsets; what they hit depends on timing.
"""

from __future__ import annotations

import contextlib
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

from setpoint.local.process import Daemon, DaemonFailed
from tests.acceptance.harness import World

LEASE_TTL_S = 3.0
TRAPS = {
    "celld": (
        "celld.run.before_send",
        "celld.run.after_send",
        "celld.effect.before",
        "celld.commit.before",
        "celld.commit.after",
        "celld.acquire.after",
    ),
    "sandboxd": (
        "sandboxd.start.before_ledger",
        "sandboxd.start.after_ledger",
        "sandboxd.run.before_exec",
        "sandboxd.run.after_exit",
        "sandboxd.run.before_result",
    ),
    "gateway": ("gateway.enqueue.before", "gateway.enqueue.after"),
    "broker": ("broker.join.after_register", "broker.reaper.before_mark"),
}
"""The failpoints a killed daemon may come back with: places where a random kill would hardly ever hit."""
_ROLES = ("setpoint_celld", "setpoint_celld", "setpoint_gateway", "setpoint_broker")
_HEAL_S = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """At ``at_s`` after the start do ``kind`` to ``target`` for ``lasts_s``.

    Kinds: kill, freeze (of a daemon), cell, zygote (kill one of a cell host), postgres (kill the postmaster), cut and
    stall (end or freeze one connection of a role). ``trap``: the failpoint a killed daemon comes back with.
    """

    at_s: float
    kind: str
    target: str
    lasts_s: float
    trap: str = ""


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
        (3, lambda: ("cut", rng.choice(_ROLES), 0.0)),
        (3, lambda: ("stall", rng.choice(_ROLES), rng.uniform(0.5, 6.0))),
    ]
    weights = [weight for weight, _ in kinds]
    faults, at_s = [], 2.0
    while at_s < seconds:
        kind, target, lasts_s = rng.choices([draw for _, draw in kinds], weights)[0]()
        traps = TRAPS[target.split("-")[0]] if kind == "kill" and rng.random() < 0.5 else ()
        trap = f"{rng.choice(traps)}=kill@{rng.choice((1, 2, 3, 5, 10, 20))}" if traps else ""
        faults.append(Fault(at_s, kind, target, lasts_s, trap))
        at_s += rng.choice((0.05, rng.uniform(0.3, 1.5), rng.uniform(1.0, 4.0)))
    return faults


class Nemesis:
    """Executes a schedule, brings back what died, and heals everything at the end."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world, self._say = world, say
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._away: set[str] = set()
        self._traps: dict[str, str] = {}
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
        self._traps.clear()
        stack = self._world.stack
        assert stack.cluster is not None
        self._world.run(stack.cluster.start())
        for backend in descendants(stack.cluster.pid or 0):
            _resume(backend)
        for name, daemon in stack.daemons.items():
            self._send(name, signal.SIGCONT)
            if daemon.environment.get("SETPOINT_FAILPOINTS") and self._send(name, signal.SIGKILL):
                self._world.until(partial(_is_dead, daemon), f"{name} dies")
        deadline = time.monotonic() + _HEAL_S
        pause = threading.Event()
        while True:
            self._restart_the_dead()
            try:
                self._world.run(stack.wait_ready(*stack.daemons))
                return
            except DaemonFailed as error:
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
            "cut": self._cut,
            "stall": self._stall,
        }[fault.kind](fault)
        how = fault.trap if hit else "missed"
        self._say(f"{fault.at_s:6.1f} s {fault.kind} {fault.target} for {fault.lasts_s:.1f} s {how}")
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
        for backend in descendants(cluster.pid):
            _resume(backend)  # a frozen one would hold the shared memory, and with it the next start
        os.kill(cluster.pid, signal.SIGKILL)
        self._later(self._now_s() + fault.lasts_s, lambda: self._world.run(cluster.start()))
        return True

    def _cut(self, fault: Fault) -> bool:
        backend = self._backend(fault)
        if backend is not None:
            os.kill(backend, signal.SIGTERM)
        return backend is not None

    def _stall(self, fault: Fault) -> bool:
        backend = self._backend(fault)
        if backend is None:
            return False
        os.kill(backend, signal.SIGSTOP)
        self._later(self._now_s() + fault.lasts_s, partial(_resume, backend))
        return True

    def _backend(self, fault: Fault) -> int | None:
        cluster = self._world.stack.cluster
        children = descendants(cluster.pid) if cluster is not None and cluster.pid is not None else []
        serving = [child for child in children if f": {fault.target} " in title_of(child)]
        return serving[round(fault.at_s * 1000) % len(serving)] if serving else None

    def _kill_titled(self, daemon: str, title: str) -> bool:
        pid = self._world.stack.daemons[daemon].pid
        for child in descendants(pid) if pid is not None else []:
            if title_of(child).startswith(title):
                os.kill(child, signal.SIGKILL)
                return True
        return False

    def _away_for(self, fault: Fault) -> None:
        self._away.add(fault.target)
        self._traps[fault.target] = fault.trap
        self._later(self._now_s() + fault.lasts_s, lambda: self._away.discard(fault.target))

    def _restart_the_dead(self) -> None:
        for name, daemon in self._world.stack.daemons.items():
            if name in self._away or daemon.pid is not None:
                continue
            code = daemon._process.returncode if daemon._process is not None else None
            if code != -signal.SIGKILL:
                self.died_by_itself.append(f"{name} at {self._now_s():.1f} s with {code}: {daemon.last_words()[-300:]}")
            daemon.environment["SETPOINT_FAILPOINTS"] = self._traps.pop(name, "")
            self._world.run(daemon.start())

    def _send(self, name: str, number: int) -> bool:
        pid = self._world.stack.daemons[name].pid
        if pid is None:
            return False
        os.kill(pid, number)
        return True

    def _now_s(self) -> float:
        return time.monotonic() - self._began


def _is_dead(daemon: Daemon) -> bool:
    return daemon.pid is None


def _resume(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


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
