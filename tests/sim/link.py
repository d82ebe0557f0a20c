"""A connection of a cell host with a sandbox host: frames take time, get lost with it, and can be late or doubled.

Answers and pushes of one connection arrive in the order in which they were sent, as on a stream; requests may overtake
each other, because sandboxd answers each in a task of its own. What a broken connection carried is lost, or arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from celld.host.token import Reading, Readings
from setpoint.contracts import run
from setpoint.contracts.run import Epoch
from tests.sim.ground import seconds
from tests.sim.kernel import SECOND, Expected, Future, Scope, Work
from tests.sim.sandbox import SandboxHost

_QUICK_S: Final = 0.001
_NOTICE_S: Final = 2.0
_RETRY_S: Final = 0.5
_MARGIN_S: Final = 0.5


class LinkDown(Expected):
    """The link is not connected, or was lost before the answer came: whether the request had effect is unknown."""


class Weather:
    """How a link is doing: ``cut`` until an instant, ``rough`` until another; drawn from a source of its own."""

    __slots__ = ("cut_until", "doubled", "random", "rough_until")

    def __init__(self, random: Random) -> None:
        self.random = random
        self.cut_until = self.rough_until = 0
        self.doubled = 0

    def delay_s(self, now: int) -> float:
        """Return how long a frame takes."""
        drawn = self.random.random()
        return drawn * drawn * 3.0 if now < self.rough_until else _QUICK_S * (0.5 + drawn)

    def doubles(self, now: int) -> bool:
        """Tell whether a request arrives twice."""
        return now < self.rough_until and self.random.random() < 0.3


class Link:
    """One direction of use: ``request`` and ``keep_alive`` towards the host, pushes to ``on_push``."""

    def __init__(self, scope: Scope, host: str, sandbox: SandboxHost, weather: Weather) -> None:
        self._scope, self._kernel, self._host = scope, scope.kernel, host
        self.sandbox, self.weather = sandbox, weather
        self.connected, self.era = False, 0
        self.kept_alive_s = 0.0
        self._lets_in_until_s: dict[str, float] = {}
        self.readings = Readings()
        self.on_push: Callable[[run.StepDone | run.RunDone], object] = lambda frame: None
        self.on_change: Callable[[Link], object] = lambda link: None
        self._waiting: dict[int, Future] = {}
        self._ids = 0
        self._arrived = 0

    @property
    def name(self) -> str:
        """Return the sandbox host's name."""
        return self.sandbox.name

    @property
    def reachable(self) -> bool:
        """Tell whether a connection can be made or goes on."""
        return self.sandbox.up and self._kernel.now >= self.weather.cut_until

    def next_id(self) -> int:
        """Return a fresh request id."""
        self._ids += 1
        return self._ids

    def connect(self) -> None:
        """Connect, or try again a little later."""
        if self.connected:
            return
        if not self.reachable:
            self._scope.later(_RETRY_S, self.connect)
            return
        self.connected = True
        self.era += 1
        self.readings.clear()
        self.on_change(self)

    def cut(self, seconds_: float, notice: float) -> None:
        """Carry nothing for a while; the connection is lost, which is noticed after a part (``notice``) of two seconds.

        A stream does not lose a frame and go on: whatever was dropped, the connection is dropped too.
        """
        self.weather.cut_until = max(self.weather.cut_until, self._kernel.now + int(seconds_ * SECOND))
        self._scope.later(notice * _NOTICE_S, self.break_off)

    def break_off(self) -> None:
        """Lose the connection and everything that waits for an answer on it."""
        if not self.connected:
            return
        self.connected = False
        self.readings.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.fail(LinkDown())
        self.on_change(self)
        self._scope.later(_RETRY_S * (0.2 + self.weather.random.random()), self.connect)

    def request(self, frame: Any, timeout_s: float) -> Future:
        """Ask; fails with LinkDown or TimedOut: then whether it had effect is unknown."""
        future = Future()
        if not self.connected:
            future.fail(LinkDown())
            return future
        self._waiting[frame.id] = future
        for _ in range(1 + self.weather.doubles(self._kernel.now)):
            self._send(frame)
        return self._scope.within(future, timeout_s)

    def keep_alive(self, token: run.ClockToken, sessions: tuple[tuple[str, Epoch], ...]) -> None:
        """Move the orphan deadlines of these sessions' runs."""
        self._send(run.KeepAlive(token, sessions))
        self.kept_alive_s = seconds(self._kernel.now)

    def sends_start(self, run_id: str, token_s_max: float) -> None:
        """Note that a start goes out: it keeps alive, and may be let in while its token counts."""
        self.kept_alive_s = seconds(self._kernel.now)
        self._lets_in_until_s[run_id] = self.kept_alive_s + token_s_max + _MARGIN_S

    def start_settled(self, run_id: str, but_until_s: float = 0.0) -> None:
        """Note that an answer told what came of a start; what came of an earlier one is open until ``but_until_s``."""
        if seconds(self._kernel.now) < but_until_s:
            self._lets_in_until_s[run_id] = but_until_s
        else:
            self._lets_in_until_s.pop(run_id, None)

    def lets_in_until_s(self, run_id: str) -> float:
        """Return until when a start that was sent may be let in, 0 when nothing is known of one."""
        return self._lets_in_until_s.get(run_id, 0.0)

    def was_sent(self, run_id: str) -> bool:
        """Tell whether a start was sent of which nobody knows what came of it."""
        return run_id in self._lets_in_until_s

    def may_come(self, run_id: str) -> bool:
        """Tell whether such a start may still be let in, although the host does not know of it yet."""
        return seconds(self._kernel.now) < self._lets_in_until_s.get(run_id, 0.0)

    def read_clock(self) -> Future:
        """Take a reading of the host's clock; nobody need wait for it."""
        future, era = Future(), self.era

        def arrive() -> None:
            if not self.reachable or not self.connected or self.era != era:
                future.fail(LinkDown())
                return
            token = self.sandbox.token()

            def received() -> None:
                self.readings.note(Reading(token, seconds(self._kernel.now)))
                future.give()

            if self._kernel.now < self.weather.rough_until:
                self._back(era, received)
            else:
                self._scope.post(received)

        self._kernel.later(self.weather.delay_s(self._kernel.now), arrive)
        return future

    def token(self, lease: Any) -> Work:
        """Return the token for a start or a change; waits for a reading and a renewal after it. Raises LinkDown."""
        while (found := self.readings.usable(lease.sent_s)) is None:
            if not self.connected:
                raise LinkDown
            received_s = self.readings.oldest_unused_s()
            if received_s is None:
                yield self._scope.within(self.read_clock(), _NOTICE_S)
            else:
                yield from lease.renewal_after(received_s)
        return found

    def _send(self, frame: Any) -> None:
        era = self.era
        self._kernel.later(self.weather.delay_s(self._kernel.now), lambda: self._arrive(frame, era))

    def _arrive(self, frame: Any, era: int) -> None:
        """Let a frame reach the other side; of a broken connection one in three still does."""
        broken = not self.connected or self.era != era or self._kernel.now < self.weather.cut_until
        if not self.sandbox.up or (broken and self.weather.random.random() > 0.3):
            return
        held: list[run.StepDone | run.RunDone] = []
        tell = _Teller(self, era, held)
        answer = self.sandbox.answer(self._host, frame, tell)
        tell.held = None
        if answer is not None:
            self._back(era, lambda: self._answered(answer))
        for push in held:
            tell(push)

    def _answered(self, answer: Any) -> None:
        future = self._waiting.pop(answer.id, None)
        if future is not None:
            future.give(answer)

    def push(self, frame: run.StepDone | run.RunDone, era: int) -> None:
        """Carry a push of the sandbox host; one of an old connection is lost."""
        self._back(era, lambda: self.on_push(frame))
        if self.weather.doubles(self._kernel.now):
            self._back(era, lambda: self.on_push(frame))

    def _back(self, era: int, do: Callable[[], object]) -> None:
        """Carry something back, behind what was sent before on this connection."""
        kernel = self._kernel
        at = max(self._arrived + 1, kernel.now + int(self.weather.delay_s(kernel.now) * SECOND))
        self._arrived = at

        def arrive() -> None:
            if self.connected and self.era == era and kernel.now >= self.weather.cut_until:
                self._scope.post(do)

        kernel.at(at, arrive)


class _Teller:
    """What a sandbox host tells a connection; while a request is answered it is held back behind the answer."""

    __slots__ = ("_era", "_link", "held")

    def __init__(self, link: Link, era: int, held: list[run.StepDone | run.RunDone] | None) -> None:
        self._link, self._era, self.held = link, era, held

    def __call__(self, frame: run.StepDone | run.RunDone) -> None:
        if self.held is not None:
            self.held.append(frame)
        else:
            self._link.push(frame, self._era)
