"""Snapshots of a session, kept in the database under its epoch; written and read by the session's owner.

What is read is whole or is not returned: each has a checksum over its content and over whose and of when it is. It
never knows what a snapshot says, and the log alone is the truth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec

from celld.plane.key import Epoch, SessionKey
from migrations import door, named
from setpoint import runtime

_SQL: Final = named.beside(__file__)
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What a row's ``state`` says after its checksum."""

    session: str
    seq: int
    shell: bytes
    cell: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session as of a seq: what the shell knows of its log (``shell``), and the state of its cell (``cell``)."""

    seq: int
    shell: bytes
    cell: bytes


async def write(pool: door.Pool, key: SessionKey, epoch: Epoch, code_version: str, snapshot: Snapshot) -> str:
    """Keep a snapshot: ``ok``, ``fenced``, or ``ahead`` of the log. May be repeated. Raises outcome.Fault."""
    content = seal(key.session, snapshot)
    status = await pool.fetchval(_SQL["write"], key.tenant, key.session, *epoch, snapshot.seq, code_version, content)
    return str(status)


async def read(pool: door.Pool, key: SessionKey, code_version: str) -> list[Snapshot]:
    """Return the whole snapshots that this code version wrote, newest first. Raises outcome.Fault."""
    found = []
    for row in await pool.fetch(_SQL["read"], key.tenant, key.session):
        if row["code_version"] != code_version:
            continue
        snapshot = unseal(key.session, row["seq"], row["state"])
        if snapshot is None:
            runtime.log().error("snapshot damaged: the log is folded instead", session=key.session, seq=row["seq"])
        else:
            found.append(snapshot)
    return found


def seal(session: str, snapshot: Snapshot) -> bytes:
    """Return what is stored of a snapshot."""
    body = msgspec.msgpack.encode(_Kept(session, snapshot.seq, snapshot.shell, snapshot.cell))
    return hashlib.sha256(body).digest() + body


def unseal(session: str, seq: int, content: bytes) -> Snapshot | None:
    """Return a stored snapshot; None when it is damaged, or not the one of this session and seq."""
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        kept = msgspec.msgpack.decode(body, type=_Kept)
    except msgspec.MsgspecError:
        return None
    return Snapshot(seq, kept.shell, kept.cell) if (kept.session, kept.seq) == (session, seq) else None
