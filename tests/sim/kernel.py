"""Virtual time: a heap of things to happen, and processes that die, freeze and thaw together.

Everything in the simulation runs on it, in one thread, without asyncio: the same calls in the same order give the same
world. A process is a generator; it yields a number of seconds to sleep, or a ``Future`` to wait for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from typing import Any, Final

SECOND: Final = 1_000_000
_STEPS_MAX: Final = 500_000

Work = Generator[Any, Any, Any]
"""A process: yields ``float`` seconds or a ``Future``, is sent what the future came to."""


class Spinning(Exception):
    """Far more happens than can be right: something asks again and again without a pause."""


class Kernel:
    """The clock (microseconds since the epoch) and what is to happen, in order of time, then of asking."""

    __slots__ = ("_heap", "_order", "began", "now", "steps")

    def __init__(self, now: int) -> None:
        self.now = self.began = now
        self.steps = 0
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._order = 0

    def at(self, when: int, do: Callable[[], object]) -> None:
        """Do something at an instant, or now if that is past."""
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, do))

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something ``seconds`` from now; the clock moves by a microsecond at least."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + int(seconds * SECOND) + 1, self._order, do))

    def run(self, until: int) -> None:
        """Let time pass, up to and with an instant."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, do = pop(heap)
            self.steps += 1
            if self.steps > _STEPS_MAX:
                raise Spinning(f"{_STEPS_MAX} things happened, and it is only {(self.now - self.began) / SECOND:.0f} s")
            do()
        self.now = until


class Future:
    """Something that will be known. The first word counts; later ones are not heard."""

    __slots__ = ("_calls", "done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self._calls: list[Callable[[Future], object]] = []

    def give(self, value: object = None) -> None:
        """Say what it came to."""
        self._end(value, None)

    def fail(self, error: Exception) -> None:
        """Say that it came to nothing."""
        self._end(None, error)

    def follow(self, other: Future) -> None:
        """Come to what another one came to."""
        self._end(other.value, other.error)

    def expire(self) -> None:
        """Come to TimedOut, unless something else came first."""
        if not self.done:
            self._end(None, TimedOut())

    def then(self, call: Callable[[Future], object]) -> None:
        """Call with this future once it is done; at once when it is."""
        if self.done:
            call(self)
        else:
            self._calls.append(call)

    def _end(self, value: object, error: Exception | None) -> None:
        if self.done:
            return
        self.done, self.value, self.error = True, value, error
        calls, self._calls = self._calls, []
        for call in calls:
            call(self)


class Expected(Exception):
    """An error that a process may end with; every other one is a defect and ends the simulation."""


class TimedOut(Expected):
    """What was waited for did not come in time."""


class Scope:
    """What lives and dies together: the processes of one host in one incarnation. Frozen ones go on where they were."""

    __slots__ = ("_kept", "alive", "frozen", "kernel")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.alive, self.frozen = True, False
        self._kept: list[Callable[[], object]] = []

    def post(self, do: Callable[[], object]) -> None:
        """Do something in this scope: now, when it thaws, or never."""
        if self.alive:
            if self.frozen:
                self._kept.append(do)
            else:
                do()

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something ``seconds`` from now, if the scope is alive then."""
        self.kernel.later(seconds, lambda: self.post(do))

    def spawn(self, work: Work) -> Task:
        """Begin a process."""
        return Task(self, work)

    def within(self, future: Future, seconds: float) -> Future:
        """Return a future that is this one, or fails with TimedOut."""
        if future.done:
            return future
        both = Future()
        future.then(both.follow)
        self.kernel.later(seconds, both.expire)
        return both

    def kill(self) -> None:
        """End everything in it, for ever."""
        self.alive = False
        self._kept.clear()

    def freeze(self) -> None:
        """Stop everything in it until ``thaw``."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on; what came meanwhile is taken in the order in which it came."""
        self.frozen = False
        kept, self._kept = self._kept, []
        for do in kept:
            self.post(do)


class Task:
    """A process of a scope. ``ended`` is done with what it returned, or with the error that ended it."""

    __slots__ = ("_dropped", "_running", "_scope", "_work", "ended", "over")

    def __init__(self, scope: Scope, work: Work) -> None:
        self._scope, self._work = scope, work
        self.over = self._running = self._dropped = False
        self.ended = Future()
        self._step(None)

    def cancel(self) -> None:
        """End it where it stands; one that is at work now ends at its next wait. Idempotent."""
        if not self.over:
            self.over = self._dropped = True
            if not self._running:
                self._work.close()
            self.ended.give(None)

    def _wake(self) -> None:
        self._scope.post(self._slept)

    def _slept(self) -> None:
        self._step(None)

    def _told(self, future: Future) -> None:
        self._scope.post(lambda: self._step(future))

    def _step(self, told: Future | None) -> None:
        """Go on until the process waits again."""
        if self.over:
            return
        self._running = True
        try:
            if told is None:
                wanted = self._work.send(None)
            elif told.error is not None:
                wanted = self._work.throw(told.error)
            else:
                wanted = self._work.send(told.value)
        except StopIteration as end:
            self.over = True
            self.ended.give(end.value)
        except Expected as error:
            self.over = True
            self.ended.fail(error)
        else:
            if self._dropped:
                self._work.close()
            elif isinstance(wanted, Future):
                wanted.then(self._told)
            else:
                self._scope.kernel.later(wanted, self._wake)
        finally:
            self._running = False
