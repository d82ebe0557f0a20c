"""What a value out of a database means for a condition: it holds, it does not, or nobody can tell. Pure.

``__main__`` asks ``judge`` about the first value of a query. The codes are those of setpoint/contracts/probe.py, which
cannot be imported in here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

READY: Final = 0
DRIFTED: Final = 1
UNKNOWN: Final = 2

_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")
_TEXT_CHARS_MAX: Final = 64
_REASON_CHARS_MAX: Final = 200


class NoAnswer(Exception):
    """There is no answer; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A timestamp as the database has it: seconds since the epoch."""

    epoch_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """How the program ends: its exit code, and the reason, which is empty when the condition holds."""

    code: int
    reason: str = ""


def judge(value: object, max_age_s: float | None, now_s: float, *, numbers_are_booleans: bool) -> Answer:
    """Judge a query's first value: as a boolean, or with ``max_age_s`` as an instant before ``now_s``.

    ``numbers_are_booleans``: 0 and 1 count as false and true, because the database has no other booleans.
    """
    try:
        if value is None:
            raise NoAnswer("the query gave NULL")
        if max_age_s is not None:
            return _freshness(value, max_age_s, now_s)
        holds = _boolean(value, numbers_are_booleans=numbers_are_booleans)
        return Answer(READY) if holds else Answer(DRIFTED, "condition returned false")
    except NoAnswer as why:
        return Answer(UNKNOWN, one_line(str(why)))


def one_line(text: str) -> str:
    """Return a text as one printable line of bounded length, never empty."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _REASON_CHARS_MAX]).split())
    words = words.encode("utf-8", "replace").decode()
    return (words if len(words) <= _REASON_CHARS_MAX else f"{words[: _REASON_CHARS_MAX - 3]}...") or "no reason given"


def _boolean(value: object, *, numbers_are_booleans: bool) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value[:_TEXT_CHARS_MAX].strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if numbers_are_booleans and isinstance(value, int) and value in (0, 1):
        return value == 1
    raise NoAnswer(f"the query gave {_named(value)}, which is no boolean")


def _freshness(value: object, max_age_s: float, now_s: float) -> Answer:
    age_s = now_s - _epoch_s(value)
    if age_s <= max_age_s:
        return Answer(READY)
    whole = math.floor(age_s)
    # A fraction over the limit would read as if it were not over it.
    age = f"{whole}" if whole > max_age_s else f"{age_s:.3f}"
    return Answer(DRIFTED, f"last updated {age}s ago, max age is {max_age_s:.15g}s")


def _epoch_s(value: object) -> float:
    if isinstance(value, Instant):
        return value.epoch_s
    if isinstance(value, str):
        return _text_epoch_s(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise NoAnswer(f"the query gave {_named(value)}, which is no instant")


def _text_epoch_s(value: str) -> float:
    text = value[: _TEXT_CHARS_MAX + 1].strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        read = datetime.fromisoformat(text.upper())
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise NoAnswer(f"the query gave {_named(value)}, which is no instant") from None


def _named(value: object) -> str:
    if isinstance(value, bool):
        return "the boolean true" if value else "the boolean false"
    if isinstance(value, str):
        cut = value if len(value) <= _TEXT_CHARS_MAX else f"{value[:_TEXT_CHARS_MAX]}..."
        return f"the text {cut!r}"
    if isinstance(value, int | float):
        return f"the number {value:.15g}"
    if isinstance(value, Instant):
        return "a timestamp"
    return f"a value of the type {type(value).__name__}"
