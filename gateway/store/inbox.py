"""The way in: enqueue a command once, and read what became of it. Called by the command routes.

The command id is made before the first attempt and stays the same through every repetition, so an answer that was lost
on the way never becomes a second command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from gateway import admit, shapes
from gateway.store.database import Database
from migrations import door, named
from setpoint.contracts.clock import micros, rfc3339
from setpoint.contracts.problem import Problem

_SQL: Final = named.beside(__file__)
_LAST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_FULL_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class Queued:
    """The answer to a command that is queued, or was under the same key. ``owner_host`` is whom to poke, if anybody."""

    accepted: shapes.Accepted
    replayed: bool
    owner_host: str | None


async def enqueue(
    database: Database,
    tenant_id: str,
    session_id: str,
    command_id: str,
    request: admit.Request,
    *,
    key: str | None,
    fingerprint: bytes,
    by: str,
) -> Queued:
    """Queue a command; ``by`` is who sent it, for what is audited.

    Raises Problem not-found, invalid-transition (closed), inbox-full, idempotency-mismatch.
    """
    whose, what = (tenant_id, session_id, command_id), (request.payload, key, fingerprint, request.quota)
    if request.type == "recover":
        row = await database.call(lambda pool: pool.fetchrow(_SQL["recover"], *whose, *what, by))
    else:
        row = await database.call(
            lambda pool: pool.fetchrow(_SQL["enqueue"], *whose, request.lane, request.type, *what)
        )
    assert row is not None, "enqueue returns one row"
    if row["status"] == "ok":
        accepted = shapes.Accepted(command_id, session_id, request.type, row["inbox_seq"])
        return Queued(accepted, False, row["owner_host"])
    if row["status"] == "replay":
        first = await _first_answer(database, tenant_id, row["command_id"])
        # The same id means that our own first attempt had arrived: to the client this is the first answer.
        return Queued(first, row["command_id"] != command_id, row["owner_host"])
    raise _refusal(row["status"], request)


async def one(connection: door.Connection, tenant_id: str, session_id: str, command_id: str) -> shapes.Command:
    """Return a command of a session, inside a transaction of its tenant. Raises Problem not-found."""
    row = await connection.fetchrow(_SQL["one"], tenant_id, session_id, command_id)
    if row is None:
        raise Problem("not-found", f"there is no command {command_id}")
    return _command(row)


async def page(
    connection: door.Connection, tenant_id: str, session_id: str, before: str, limit: int
) -> list[shapes.Command]:
    """Return commands before an id (empty: from the newest), newest first."""
    rows = await connection.fetch(_SQL["page"], tenant_id, session_id, before or _LAST_ID, limit)
    return [_command(row) for row in rows]


async def _first_answer(database: Database, tenant_id: str, command_id: str) -> shapes.Accepted:
    row = await database.read(
        tenant_id, lambda connection: connection.fetchrow(_SQL["first_answer"], tenant_id, command_id)
    )
    if row is None or row["inbox_seq"] is None:
        raise Problem("unavailable", "the first answer to this key cannot be read now", retry_after_s=1)
    return shapes.Accepted(command_id, row["session_id"], row["type"], row["inbox_seq"])


def _refusal(status: str, request: admit.Request) -> Problem:
    if status == "mismatch":
        return Problem("idempotency-mismatch", "this Idempotency-Key was used for another request")
    if status == "closed":
        return Problem("invalid-transition", "the session is closed and takes no more commands")
    if status == "full":
        detail = f"{request.quota} commands of this session have not ended; wait for one of them"
        return Problem("inbox-full", detail, retry_after_s=_FULL_RETRY_S)
    return Problem("not-found", "there is no such session")


def _command(row: door.Row) -> shapes.Command:
    ended = row["status"] is not None
    return shapes.Command(
        command_id=row["command_id"],
        session_id=row["session_id"],
        type=row["type"],
        status=row["status"] if ended else ("queued" if row["queued"] else "accepted"),
        payload=msgspec.Raw(row["payload"].encode()),
        created_at=rfc3339(micros(row["at"])),
        seq_before=None if ended else row["head_seq"],
        seq=row["seq"],
        ended_at=rfc3339(micros(row["ended_at"])) if ended else None,
        result=None if row["result"] is None else msgspec.Raw(row["result"].encode()),
    )
