"""What a rule of the log found wrong: where, which rule, and what. A value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """``seq``: the event that is wrong, or after which something is missing. ``text`` says what, in one line."""

    seq: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"seq {self.seq} {self.rule}: {self.text}"


Findings = Iterator[Finding]
