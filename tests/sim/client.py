"""Clients: each does its acts one after the other, and asks again with the same key until it has an answer.

What a client was promised is its history; the checkers hold the log against it. The gateway is a call to the database
here, with a command id of its own for every attempt, as the real one makes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from migrations.outcome import Fault
from setpoint.contracts import limits
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.command import lane_of
from tests.sim.kernel import SECOND, Scope, Work
from tests.sim.plan import TENANT, Act
from tests.sim.postgres import commands
from tests.sim.projects import blob
from tests.sim.rooms import Rooms

_RETRY_S: Final = (0.05, 0.2, 0.5, 1.0)


@dataclass(slots=True)
class Post:
    """One request as its client saw it. ``answers``: each definite one, as (status, command id)."""

    client: str
    label: str
    session: str
    kind: str
    lane: int
    key: str
    fingerprint: bytes
    began: int
    command_id: str = ""
    ended: int | None = None
    status: str = ""
    unknown: int = 0
    attempts: list[str] = field(default_factory=list)


class Client:
    """One client. ``posts`` is its history; ``poke`` tells an owner that there is something (a hint)."""

    def __init__(self, rooms: Rooms, name: str, poke: Callable[[str, str], object]) -> None:
        self._rooms, self.name, self._poke = rooms, name, poke
        self._scope = Scope(rooms.kernel)
        self.posts: list[Post] = []

    def begin(self, acts: list[tuple[Act, str, Any]], began: int) -> None:
        """Do these acts (with the session's id and the project to apply) from an instant on."""
        self._scope.spawn(self._work(acts, began))

    def now(self, session: str, kind: str, payload: dict[str, Any], key: str, project: Any = None) -> None:
        """Do something at once."""
        self._scope.spawn(self._do(key, session, kind, payload, key, project))

    def _work(self, acts: list[tuple[Act, str, Any]], began: int) -> Work:
        kernel = self._rooms.kernel
        for act, session, project in acts:
            wait_s = began / SECOND + act.at_s - kernel.now / SECOND
            if wait_s > 0:
                yield wait_s
            yield from self._do(act.label, session, act.kind, act.payload, act.key, project)

    def _do(self, label: str, session: str, kind: str, payload: dict[str, Any], key: str, project: Any) -> Work:
        """Post until it is certain what became of it."""
        rooms, body = self._rooms, self._body(kind, payload, project)
        lane = lane_of(kind)
        fingerprint = hashlib.sha256(canonical_json([session, kind, body])).digest()
        post = Post(self.name, label, session, kind, lane, key, fingerprint, rooms.kernel.now)
        self.posts.append(post)
        while True:
            command_id = rooms.new_id()
            post.attempts.append(command_id)
            try:
                row = yield rooms.database.call(
                    self._scope,
                    self.name,
                    commands.enqueue,
                    TENANT,
                    session,
                    command_id,
                    lane,
                    kind,
                    body,
                    f"{self.name}/{key}",
                    fingerprint,
                    limits.UNENDED_MAX[lane],
                )
            except Fault:
                post.unknown += 1
                yield _RETRY_S[min(post.unknown, len(_RETRY_S)) - 1]
                continue
            if row.status == "full":
                yield 1.0
                continue
            break
        post.status, post.command_id, post.ended = row.status, row.command_id or "", rooms.kernel.now
        if row.owner_host is not None:
            self._poke(row.owner_host, session)

    def _body(self, kind: str, payload: dict[str, Any], project: Any) -> dict[str, Any]:
        if project is not None:
            sha256, content = blob(project)
            self._rooms.blobs[sha256] = content
            return payload | {"generation": {"resources": sha256, "files": sha256}}
        if payload.get("command_id") == "last":
            known = [post.command_id for post in self.posts if post.command_id and post.lane == limits.LANE_WORK]
            return {"command_id": known[-1] if known else "0198c0de-0000-7000-8000-ffffffffffff"}
        return payload
