"""The listener of celld: links of gateways (pokes in, moved heads out, output relayed), health, metrics.

Nothing here carries authority: all of it may be lost, and a poll finds what it said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from celld.host.owners import Owners
from celld.host.sandboxes import Sandboxes
from celld.host.sweep import Sweep
from celld.plane import log
from celld.plane.key import SessionKey
from migrations import outcome
from migrations.door import Pool
from setpoint import web as pieces
from setpoint.contracts import hint, limits, run
from setpoint.contracts.grant import HostClaims, Proof, TokenRefused
from setpoint.identity import Identity
from setpoint.link import LinkDown

_MOVED_PAUSE_S: Final = 0.005
_MOVED_MAX: Final = 1000
_OUTPUT_S_MAX: Final = 4.0
_RELAYS_MAX: Final = 64


class Gateways:
    """The connected gateways. ``moved`` tells them all of a new head: the first at once, then a few ms in one frame."""

    def __init__(self) -> None:
        self._peers: set[pieces.Peer] = set()
        self._heads: dict[SessionKey, int] = {}
        self._flush: asyncio.TimerHandle | None = None

    def add(self, peer: pieces.Peer) -> None:
        """Tell this gateway from now on."""
        self._peers.add(peer)

    def remove(self, peer: pieces.Peer) -> None:
        """Tell this gateway no more."""
        self._peers.discard(peer)

    def moved(self, key: SessionKey, head_seq: int) -> None:
        """Tell every gateway: now when nothing was told for a moment, else with whatever else moves meanwhile."""
        if not self._peers:
            return
        self._heads[key] = head_seq
        if self._flush is None:
            self._send()

    def _send(self) -> None:
        self._flush = asyncio.get_running_loop().call_later(_MOVED_PAUSE_S, self._rest)
        heads = [(key.tenant, key.session, seq) for key, seq in self._heads.items()]
        self._heads.clear()
        for start in range(0, len(heads), _MOVED_MAX):
            frame = hint.Moved(tuple(heads[start : start + _MOVED_MAX]))
            for peer in list(self._peers):
                peer.send(frame)

    def _rest(self) -> None:
        """Tell what has moved since, or let the next one go at once."""
        self._flush = None
        if self._heads:
            self._send()


class Relay:
    """Answers a gateway's question for output of a run from the sandbox host of a session this host owns."""

    def __init__(self, owners: Owners, sandboxes: Sandboxes, pool: Pool) -> None:
        self._owners, self._sandboxes, self._pool = owners, sandboxes, pool
        self._slots = asyncio.Semaphore(_RELAYS_MAX)

    async def answer(self, asked: hint.ReadSessionOutput) -> run.OutputIs | run.Refused:
        """Return the bytes, or why there are none."""
        async with self._slots:
            return await self._answer(asked)

    async def _answer(self, asked: hint.ReadSessionOutput) -> run.OutputIs | run.Refused:
        key = SessionKey(asked.tenant, asked.session)
        owner = self._owners.get(key)
        if owner is None:
            return run.Refused(asked.id, "unknown-run", "this host does not own the session", retry=True)
        try:
            head = await log.head(self._pool, key)
        except outcome.Fault as error:
            return run.Refused(asked.id, "no-capacity", error.detail[:200], retry=True)
        link = self._sandboxes.link(head.sandbox_host) if head is not None else None
        if link is None:
            return run.Refused(asked.id, "unknown-run", "the session has no sandbox host", retry=True)
        grant = link.grant(key, owner.held.epoch)
        limit = min(asked.limit, limits.OUTPUT_READ_BYTES_MAX)
        question = run.ReadOutput(
            link.next_id(), grant, key.session, asked.run_id, asked.step, asked.stream, asked.offset, limit
        )
        try:
            reply = await link.request(question, _OUTPUT_S_MAX)
        except (LinkDown, TimeoutError):
            return run.Refused(asked.id, "no-capacity", "the sandbox host does not answer", retry=True)
        match reply:
            case run.OutputIs():
                return run.OutputIs(asked.id, reply.content, reply.next_offset, reply.eof, reply.truncated)
            case run.Refused():
                return run.Refused(asked.id, reply.code, reply.detail, reply.retry)
            case _:
                return run.Refused(asked.id, "invalid", "the sandbox host answered something else")


def make_app(
    identity: Identity,
    gateways: Gateways,
    facts: Callable[[], Mapping[str, object]],
    missing: Callable[[], list[str]],
) -> web.Application:
    """Make the application; see ``door_of`` for its link. ``missing`` says what keeps the host from serving."""
    app = web.Application(middlewares=[pieces.problems])

    async def ready() -> list[str]:
        return missing()

    pieces.add_health(app, facts, ready)
    app[_LINK] = Door(identity, gateways)
    app.on_shutdown.append(app[_LINK].close)
    app.router.add_get("/link", app[_LINK].serve)
    return app


class Door:
    """The link route. Until ``open`` it refuses: the host is not admitted yet."""

    def __init__(self, identity: Identity, gateways: Gateways) -> None:
        self._identity, self._gateways = identity, gateways
        self._parts: tuple[Owners, Sweep, Relay] | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    def open(self, owners: Owners, sweep: Sweep, relay: Relay) -> None:
        """Serve gateways from now on."""
        self._parts = (owners, sweep, relay)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one gateway until it leaves, or this host does."""
        task = asyncio.current_task()
        assert task is not None, "a route is served by a task"
        self._serving.add(task)
        try:
            return await pieces.serve_link(
                request,
                frames=hint.ToCelld,
                on_frame=self._take,
                check=self._check,
                on_open=self._gateways.add,
                on_close=self._gateways.remove,
            )
        finally:
            self._serving.discard(task)

    async def close(self, app: web.Application) -> None:
        """Let every gateway go: it finds the sessions' next owners by itself."""
        for task in self._serving:
            task.cancel()

    def _check(self, headers: Mapping[str, str]) -> tuple[HostClaims, Proof]:
        claims, proof = self._identity.check_peer(headers)
        if claims.role != "gateway" or self._parts is None:
            raise TokenRefused("only gateways open links here, and only to a host that is admitted")
        return claims, proof

    async def _take(self, peer: pieces.Peer, frame: hint.ToCelld) -> None:
        assert self._parts is not None, "no link is open before the parts are"
        owners, sweep, relay = self._parts
        if isinstance(frame, hint.Poke):
            owner = owners.get(SessionKey(frame.tenant, frame.session))
            if owner is not None:
                owner.look()
            else:
                sweep.look()
        elif len(self._relays) >= limits.LINK_PENDING_MAX:
            peer.send(run.Refused(frame.id, "no-capacity", "too many questions", retry=True))
        else:
            task = asyncio.create_task(self._relay(peer, frame, relay))
            self._relays.add(task)
            task.add_done_callback(self._relays.discard)

    @staticmethod
    async def _relay(peer: pieces.Peer, frame: hint.ReadSessionOutput, relay: Relay) -> None:
        peer.send(await relay.answer(frame))


_LINK: Final = web.AppKey("link", Door)


def door_of(app: web.Application) -> Door:
    """Return the link route of an application made by ``make_app``."""
    return app[_LINK]
