"""What to do about a cell that died: start it again, set its input aside, or give the session up. Pure.

A death while an input was being decided is that input's; the third makes it one to quarantine. Deaths that nobody can
attribute (an idle cell was killed) are counted over ten minutes (architecture.md section 5).
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, Literal

from setpoint.contracts import cell as frames

Verdict = Literal["again", "quarantine", "fail"]

ON_ONE_INPUT_MAX: Final = 3
UNATTRIBUTED_MAX: Final = 5
_WINDOW_S: Final = 600.0
_BACKOFF_S: Final = (0.02, 0.1, 0.5, 2.0, 5.0)
OWNED: Final = "owned"


class Deaths:
    """The deaths of one session's cells under one owner."""

    def __init__(self) -> None:
        self._by_input: Counter[str] = Counter()
        self._unattributed: deque[float] = deque()
        self._lately: deque[float] = deque()

    def note(self, input_name: str | None, at_s: float) -> Verdict:
        """Count a death at ``at_s`` (seconds of any steady clock) and say what follows from it."""
        self._lately.append(at_s)
        while self._lately[0] < at_s - _WINDOW_S:
            self._lately.popleft()
        if input_name is None:
            self._unattributed.append(at_s)
            while self._unattributed[0] < at_s - _WINDOW_S:
                self._unattributed.popleft()
            return "fail" if len(self._unattributed) >= UNATTRIBUTED_MAX else "again"
        self._by_input[input_name] += 1
        if self._by_input[input_name] < ON_ONE_INPUT_MAX:
            return "again"
        del self._by_input[input_name]
        return "fail" if input_name == OWNED else "quarantine"

    def pause_s(self) -> float:
        """Return how long to wait before the next cell: longer the more have died lately."""
        return _BACKOFF_S[min(len(self._lately), len(_BACKOFF_S)) - 1] if self._lately else 0.0


def name_of(input_: frames.Input, wake_at: int | None) -> str:
    """Name an input so that the same one is recognized after a restart."""
    match input_:
        case frames.Owned():
            return OWNED
        case frames.Delivered():
            return f"command {input_.command_id}"
        case frames.Tick():
            return f"tick {wake_at}"
        case frames.StepEnded():
            return f"step {input_.execution_id} {input_.result.index}"
        case frames.Materialized() | frames.MaterializeFailed():
            return f"workspace {input_.generation}"
        case frames.LockBusy() | frames.RunEnded() | frames.RunFound() | frames.RunRefused():
            return f"{type(input_).__name__} {input_.execution_id}"
