"""Which session: the pair that every call of the plane names it by."""

from __future__ import annotations

from dataclasses import dataclass

Epoch = tuple[int, int]
"""(cluster incarnation, n) as the head row has it; compared as a pair."""


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session of a tenant."""

    tenant: str
    session: str


@dataclass(frozen=True, slots=True)
class Held:
    """A session this host owns: its epoch, its head at that moment, and when the answer came (CLOCK_BOOTTIME, s)."""

    key: SessionKey
    epoch: Epoch
    head_seq: int
    answered_s: float
