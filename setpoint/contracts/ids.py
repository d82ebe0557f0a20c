"""Identifiers and names: how they are made, read and compared.

Every tier calls this. It never draws randomness or reads a clock itself: both are arguments, so that a replay
makes the same ids again.
"""

from __future__ import annotations

import hashlib
import re
import uuid

NAME = re.compile(r"^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$")
"""The one rule for names of tenants, sessions, assets and hosts (architecture.md section 9)."""

_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")


def is_name(text: str) -> bool:
    """Tell whether ``text`` is a legal name."""
    return NAME.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Tell whether ``text`` is a UUID in its canonical, lower-case form: the only form we accept or emit."""
    return _UUID.fullmatch(text) is not None


def uuid7(now_us: int, random: bytes) -> str:
    """Make a time-ordered id (RFC 9562 version 7) from microseconds since the epoch and 10 random bytes."""
    stamp = (now_us // 1000) & ((1 << 48) - 1)
    tail = int.from_bytes(random[:10], "big")
    rand_a, rand_b = tail >> 68 & 0xFFF, tail & ((1 << 62) - 1)
    text = f"{stamp << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"  # uuid.UUID costs three times as much


def derived_id(*parts: str | int) -> str:
    """Make the id that follows from ``parts`` (RFC 9562 version 8 over SHA-256): same parts, same id, anywhere."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=number))


def execution_id(session_id: str, epoch: tuple[int, int], execution_no: int) -> str:
    """Name an execution by its session, the epoch of its started event and its counter in the fold.

    Source: reconcile.md section 4. The epoch is part of it, so that a log that was cut back and grew again under a
    new epoch can never meet a sandbox ledger that knows the same id with another history.
    """
    return derived_id("execution", session_id, epoch[0], epoch[1], execution_no)
