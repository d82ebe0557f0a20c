"""What goes wrong in a world, and how all of it is put right at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.sim.database import Span
from tests.sim.ground import Ground, Trouble
from tests.sim.host import CellHost
from tests.sim.kernel import SECOND
from tests.sim.plan import Fault, Plan
from tests.sim.postgres import lease
from tests.sim.rooms import Rooms

_NEVER: Final = 1 << 62


class Faults:
    """The faults of one schedule. ``applied`` counts those that met something."""

    def __init__(self, rooms: Rooms, plan: Plan, hosts: Mapping[str, CellHost]) -> None:
        self._rooms, self._plan, self._hosts = rooms, plan, hosts
        self.applied = 0
        self._down: set[str] = set()
        self._over = False

    def strike(self, fault: Fault) -> None:
        """Let one happen."""
        if self._over:
            return
        self.applied += 1
        self._rooms.met[f"fault {fault.kind}"] += 1
        match fault.kind:
            case "crash host":
                self._crash(self._hosts[fault.target], fault)
            case "pause host":
                self._pause(self._hosts[fault.target], fault)
            case "drain":
                host = self._hosts[fault.target]
                if host.scope.alive and not host.scope.frozen:
                    host.scope.spawn(host.drain())
                    self._later(fault.length_s + 2.5, host.start)
            case "mark dead":
                self._mark(self._hosts[fault.target])
            case "crash sandbox":
                self._crash_sandbox(fault)
            case "cut link":
                self._cut(fault)
            case "rough link":
                weather = self._rooms.weather[fault.target, fault.other]
                weather.rough_until = self._until(fault.length_s)
            case "cut database":
                self._rooms.database.cut_until[fault.target] = self._until(fault.length_s)
            case "bad database":
                self._rooms.database.span = Span(self._until(fault.length_s), fault.how)
            case "kill cell":
                self._kill_cell(fault)
            case _:
                self._outside(fault)

    def end(self) -> None:
        """Put everything right."""
        self._over = True
        rooms = self._rooms
        rooms.database.span = Span()
        rooms.database.cut_until.clear()
        for weather in rooms.weather.values():
            weather.cut_until = min(weather.cut_until, rooms.kernel.now)
            weather.rough_until = 0
        for sandbox in rooms.sandboxes.values():
            if not sandbox.up:
                sandbox.start()
        for host in self._hosts.values():
            if host.scope.frozen:
                host.scope.thaw()
            host.start()
        mend(rooms.ground)

    def _until(self, seconds: float) -> int:
        return self._rooms.kernel.now + int(seconds * SECOND)

    def _later(self, seconds: float, do: object) -> None:
        assert callable(do)
        self._rooms.kernel.later(seconds, do)

    def _crash(self, host: CellHost, fault: Fault) -> None:
        if not host.scope.alive:
            return
        incarnation = host.incarnation
        host.crash()
        self._later(fault.length_s, host.start)
        if fault.how:  # a broker is refused at its address, twice
            self._later(0.3, lambda: self._refused(host.name, incarnation))

    def _refused(self, host: str, incarnation: str) -> None:
        database = self._rooms.database
        database.wire.call(self._rooms.kernel.now, lease.host_dead, host, incarnation, True)

    def _mark(self, host: CellHost) -> None:
        """Let a broker be wrong: the host lives and is marked all the same."""
        if host.scope.alive:
            self._refused(host.name, host.incarnation)

    def _pause(self, host: CellHost, fault: Fault) -> None:
        if not host.scope.alive or host.scope.frozen:
            return
        scope = host.scope
        scope.freeze()

        def thaw() -> None:
            if scope.alive and scope.frozen:
                scope.thaw()

        self._later(fault.length_s, thaw)

    def _crash_sandbox(self, fault: Fault) -> None:
        sandbox = self._rooms.sandboxes[fault.target]
        if not sandbox.up:
            return
        sandbox.crash(reboot=fault.how == "reboot", disk_lost=fault.how == "disk")
        for host in self._hosts.values():
            if host.scope.alive:
                host.scope.later(0.001, host.links[sandbox.name].break_off)

        def restart() -> None:
            if not sandbox.up:
                sandbox.start()

        self._later(fault.length_s, restart)

    def _cut(self, fault: Fault) -> None:
        host = self._hosts[fault.target]
        if host.scope.alive:
            host.links[fault.other].cut(fault.length_s, fault.how)

    def _kill_cell(self, fault: Fault) -> None:
        session = self._plan.sessions[int(fault.target)].session_id
        for host in self._hosts.values():
            for key, owner in host.owners.items():
                if key.session == session:
                    host.scope.post(owner.kill_cell)

    def _outside(self, fault: Fault) -> None:
        """Let something outside drift, be unknowable for a while, or let an asset's syncs go wrong for a while."""
        ground, session = self._rooms.ground, self._plan.sessions[int(fault.target)].session_id
        if fault.kind == "bad syncs":
            ground.troubles[session, fault.other] = Trouble(self._until(fault.length_s), fault.how)
            return
        keys = [key for key in ground.truth if key[:2] == (session, fault.other)]
        if not keys:
            return
        hold, drawn = fault.how
        key = keys[int(drawn * len(keys))]
        ground.truth[key] = hold
        if fault.kind == "unknown":

            def clear() -> None:
                if ground.truth[key] == hold:
                    ground.truth[key] = drawn < 0.5

            self._later(fault.length_s, clear)


def mend(ground: Ground) -> None:
    """Let every sync go well from now on, and every condition be knowable."""
    ground.troubles.clear()
    ground.quality = 1.0
    for key, holds in ground.truth.items():
        if isinstance(holds, str):
            ground.truth[key] = False
