"""Who kills: the execution of a schedule on a running stack. It brings back what died, and judges nothing."""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from setpoint.identity import write_private
from setpoint.local.process import Daemon, DaemonFailed
from setpoint.local.stack import Stack
from tests.acceptance.harness import World
from tests.chaos.schedule import BUSIEST, KILLS, LEASE_TTL_S, Fault
from tests.chaos.wire import Wires

_HEAL_S: Final = 90.0
_TRAPPED_S: Final = LEASE_TTL_S + 2.5


class Nemesis:
    """Executes a schedule, brings back what died, and heals everything at the end.

    ``done`` counts what was done, ``kills`` the SIGKILLs among it; ``trapped`` those that a failpoint gave itself.
    """

    def __init__(self, world: World, wires: Wires, say: Callable[[str], None]) -> None:
        self._world, self._wires, self._say = world, wires, say
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._away: set[str] = set()
        self._traps: dict[str, str] = {}
        self._stopped: set[int] = set()
        self._began = time.monotonic()
        self.done: Counter[str] = Counter()
        self.kills = 0
        self.trapped: Counter[str] = Counter()
        self.died_by_itself: list[str] = []

    def run(self, faults: Iterator[Fault], kills: int, seconds: float) -> float:
        """Execute faults until so many were SIGKILLs, at most for ``seconds``; returns how long it took."""
        self._began = time.monotonic()
        fault = next(faults)
        next_s = fault.after_s
        pause = threading.Event()
        while self.kills < kills and (now_s := self._now_s()) < seconds:
            self._restart_the_dead()
            self._thaw_the_trapped()
            while self._due and self._due[0][0] <= now_s:
                heapq.heappop(self._due)[2]()
            if next_s <= now_s:
                self._strike(fault)
                fault = next(faults)
                next_s = self._now_s() + fault.after_s
            pause.wait(0.02)
        return self._now_s()

    def heal(self) -> None:
        """Thaw and restart everything, and wait until it is ready."""
        while self._due:
            heapq.heappop(self._due)
        self._away.clear()
        self._traps.clear()
        self._wires.release()
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
        if fault.target == BUSIEST:
            fault = replace(fault, target=self._busiest())
        hit = {
            "kill": self._kill,
            "freeze": self._freeze,
            "cell": self._kill_cell,
            "zygote": self._kill_zygote,
            "postgres": self._kill_postgres,
            "cut": self._cut,
            "stall": self._stall,
            "deaf": self._deafen,
            "apart": self._part,
        }[fault.kind](fault)
        how = fault.trap if hit else "missed"
        self._say(f"{self._now_s():6.1f} s {fault.kind} {fault.target} for {fault.lasts_s:.1f} s {how}")
        if hit:
            self.done[f"{fault.kind} {fault.target}"] += 1
            self.kills += fault.kind in KILLS

    def _busiest(self) -> str:
        hosts = [name for name in self._world.stack.daemons if name.split("-")[0] == "celld"]
        return max(hosts, key=self._cells)

    def _cells(self, name: str) -> int:
        pid = self._world.stack.daemons[name].pid
        return sum(title_of(child).startswith("setpoint: cell") for child in descendants(pid)) if pid else -1

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
        if not _signalled(cluster.pid, signal.SIGKILL):
            return False
        self._later(self._now_s() + fault.lasts_s, lambda: self._world.run(cluster.start()))
        return True

    def _cut(self, fault: Fault) -> bool:
        backend = self._backend(fault)
        return backend is not None and _signalled(backend, signal.SIGTERM)

    def _stall(self, fault: Fault) -> bool:
        backend = self._backend(fault)
        if backend is None or not _signalled(backend, signal.SIGSTOP):
            return False
        self._later(self._now_s() + fault.lasts_s, partial(_resume, backend))
        return True

    def _deafen(self, fault: Fault) -> bool:
        wire = self._wires.named[fault.target]
        wire.hold("answered")

        def end() -> None:
            wire.cut()
            wire.release()

        self._later(self._now_s() + fault.lasts_s, end)
        return True

    def _part(self, fault: Fault) -> bool:
        if fault.target.startswith("celld") and not self._others(fault.target):
            return False  # what is held is to come late: after somebody else took over
        wire = self._wires.named[fault.target]
        wire.hold()
        self._later(self._now_s() + fault.lasts_s, wire.release)
        return True

    def _others(self, name: str) -> list[str]:
        """Return the cell hosts that could take over from one: they run, and reach the database."""
        hosts = {host: daemon.pid for host, daemon in self._world.stack.daemons.items() if host.startswith("celld")}
        return [host for host, pid in hosts.items() if host != name and pid and not self._wires.named[host].held]

    def _backend(self, fault: Fault) -> int | None:
        cluster = self._world.stack.cluster
        children = descendants(cluster.pid) if cluster is not None and cluster.pid is not None else []
        serving = [child for child in children if f": {fault.target} " in title_of(child)]
        return serving[round(fault.after_s * 1000) % len(serving)] if serving else None

    def _kill_titled(self, daemon: str, title: str) -> bool:
        pid = self._world.stack.daemons[daemon].pid
        for child in descendants(pid) if pid is not None else []:
            if title_of(child).startswith(title) and _signalled(child, signal.SIGKILL):
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
            armed = daemon.environment.get("SETPOINT_FAILPOINTS", "")
            if code == -signal.SIGKILL and armed and (mark := self._world.mark(armed.partition("=")[0])).exists():
                mark.unlink()
                self.trapped[armed.partition("@")[0]] += 1
            if code != -signal.SIGKILL:
                self.died_by_itself.append(f"{name} at {self._now_s():.1f} s with {code}: {daemon.last_words()[-300:]}")
            daemon.environment.update(self._world.failpoints(self._traps.pop(name, "")))
            self._world.run(daemon.start())

    def _thaw_the_trapped(self) -> None:
        """See who stopped itself at a failpoint, and wake it when its lease is over."""
        for daemon in self._world.stack.daemons.values():
            armed, pid = daemon.environment.get("SETPOINT_FAILPOINTS", ""), daemon.pid
            if "=stop" not in armed or pid is None or pid in self._stopped:
                continue
            mark = self._world.mark(armed.partition("=")[0])
            if mark.exists() and mark.read_text() == str(pid):
                mark.unlink()
                self._stopped.add(pid)
                self.trapped[armed.partition("@")[0]] += 1
                self._later(self._now_s() + _TRAPPED_S, partial(_resume, pid))

    def _send(self, name: str, number: int) -> bool:
        pid = self._world.stack.daemons[name].pid
        return pid is not None and _signalled(pid, number)

    def _now_s(self) -> float:
        return time.monotonic() - self._began


def lay(stack: Stack, wires: Wires) -> None:
    """Put wires before the database of each cell host, and before sandbox hosts; counts from their next start on."""
    cluster = stack.cluster
    assert cluster is not None, "chaos wants a database that it may kill"
    for name, daemon in stack.daemons.items():
        match name.split("-")[0]:
            case "celld":
                wire = wires.add(name, lambda: cluster.port)
                parts = urlsplit((stack.root / "secrets" / "setpoint_celld.dsn").read_text())
                login = parts.netloc.rpartition("@")[0]
                path = stack.root / "secrets" / f"{name}.dsn"
                write_private(path, urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{wire.port}")).encode())
                daemon.environment["SETPOINT_DATABASE_URL_FILE"] = str(path)
            case "sandboxd":
                wire = wires.add(name, partial(stack.ports.__getitem__, name))
                daemon.environment["SETPOINT_ADVERTISE"] = f"127.0.0.1:{wire.port}"
            case _:
                pass


def _is_dead(daemon: Daemon) -> bool:
    return daemon.pid is None


def _resume(pid: int) -> None:
    _signalled(pid, signal.SIGCONT)


def _signalled(pid: int, number: int) -> bool:
    """Send a signal; False when the process has just ended by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


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
