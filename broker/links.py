"""The hosts' links: admission, heartbeats, questions of placement, and the keys pushed down when they change.

``app`` routes ``/ws`` here. A host that does not join in time, or is refused, is cut off. Nothing on these links is in
the way of a session: a host without its broker goes on with the keys it has.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from broker import admission, meters
from broker.admission import Bound, Refusal, Shown
from broker.keys import SigningKey
from broker.placement import choose
from broker.registry import Linked, Registry
from broker.store import Store, StoreFault
from setpoint import failpoints, runtime
from setpoint.contracts import hint
from setpoint.contracts.limits import HOST_TOKEN_RENEW_S
from setpoint.contracts.problem import Problem
from setpoint.contracts.reply import Refused
from setpoint.identity import PROOF_HEADER
from setpoint.web import Peer, serve_link

JOIN_S_MAX: Final = 5.0
LINKS_MAX: Final = 4096


class HostLinks:
    """All links of one broker. ``on_lost`` is told of each admitted host whose link ended.

    ``keys`` are all brokers' public keys (kid -> base64url), empty until the database was first read.
    """

    def __init__(
        self, store: Store, registry: Registry, key: SigningKey, join_token: str, on_lost: Callable[[Linked], None]
    ) -> None:
        self._store, self._registry, self._key = store, registry, key
        self._join_token, self._on_lost = join_token.encode(), on_lost
        self.keys: dict[str, str] = {}
        self._open: set[Peer] = set()
        self._closing = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Accept a link and serve it to its end. Raises Problem unavailable when there are too many."""
        if self._closing or len(self._open) >= LINKS_MAX:
            raise Problem("unavailable", "this broker takes no more links", retry_after_s=1)
        link = _HostLink(self, _shown(request.headers))
        return await serve_link(
            request,
            frames=hint.ToBroker,
            check=None,
            on_frame=link.on_frame,
            on_open=link.on_open,
            on_close=link.on_close,
        )

    def learn(self, keys: Mapping[str, str], now_s: int) -> None:
        """Take over the brokers' keys; hosts are told when they changed, or when their certificate grows old."""
        changed = dict(keys) != self.keys
        self.keys = dict(keys)
        for peer, linked in self._registry.links():
            if changed or linked.certified_at_s + HOST_TOKEN_RENEW_S <= now_s:
                peer.send(self._welcome(0, linked, now_s))
                self._registry.certified(linked.host, now_s)

    def close(self) -> None:
        """Close all links and take no new ones; their hosts look for another broker. Idempotent."""
        self._closing = True
        for peer in self._open:
            peer.close()

    def opened(self, peer: Peer) -> None:
        """Count a link."""
        self._open.add(peer)

    def closed(self, peer: Peer, linked: Linked | None) -> None:
        """Forget a link, and say so when it was the current one of an admitted host."""
        self._open.discard(peer)
        if linked is None or self._registry.leave(linked.host, peer) is None:
            return
        meters.LINKS.labels(linked.role).dec()
        if not self._closing:
            runtime.log().info("host link lost", host=linked.host, role=linked.role, incarnation=linked.incarnation)
            self._on_lost(linked)

    async def admit(self, peer: Peer, join: hint.Join, shown: Shown) -> Linked | None:
        """Answer a Join; None when it was refused, and the link closes."""
        refusal = await self._refusal(join, shown)
        meters.JOINS.labels(refusal.code if refusal else "admitted").inc()
        if refusal is not None:
            runtime.log().warning("host refused", host=join.host[:128], code=refusal.code, why=refusal.detail[:300])
            peer.send(Refused(join.id, refusal.code, refusal.detail, retry=refusal.code == "unavailable"))
            peer.close()
            return None
        failpoints.hit("broker.join.after_register")
        now_s = runtime.now_s()
        linked = Linked(join.host, join.role, join.public_key, join.incarnation, join.address, join.capacity, now_s)
        had_link = self._registry.linked(join.host) is not None
        replaced = self._registry.join(peer, linked)
        if replaced is not None:
            replaced.close()
        if not had_link:
            meters.LINKS.labels(linked.role).inc()
        peer.send(self._welcome(join.id, linked, now_s))
        runtime.log().info("host admitted", host=join.host, role=join.role, incarnation=join.incarnation)
        return linked

    async def beat(self, peer: Peer, linked: Linked, frame: hint.Beat) -> None:
        """Note a heartbeat. A sandbox host whose row is not its own closes here, and joins again at once."""
        if not self._registry.is_current(linked.host, peer):
            return
        if admission.capacity_fault(frame.capacity) is not None:
            peer.close()
            return
        self._registry.beat(linked.host, frame.capacity)
        if linked.role != "sandbox":
            return
        try:
            if not await self._store.sandbox_seen(linked.host, linked.incarnation, frame.capacity):
                runtime.log().warning("sandbox host must join again", host=linked.host)
                peer.close()
        except StoreFault as error:
            runtime.log().warning("heartbeat not written", host=linked.host, why=error.detail[:200])

    def place(self, peer: Peer, frame: hint.Place) -> None:
        """Answer where to place a session, from memory."""
        candidates = self._registry.candidates(frame.role)
        draw = int.from_bytes(os.urandom(8), "big")
        chosen = choose(candidates, draw, sticky=frame.sticky, avoid=frame.avoid)
        meters.PLACEMENTS.labels(frame.role, "placed" if chosen else "no-capacity").inc()
        if chosen is None:
            detail = f"none of {len(candidates)} ready {frame.role} hosts has room"
            peer.send(Refused(frame.id, "no-capacity", detail, retry=True))
            return
        self._registry.placed(chosen.host)
        peer.send(hint.Placed(frame.id, chosen.host, chosen.address, chosen.incarnation))

    async def _refusal(self, join: hint.Join, shown: Shown) -> Refusal | None:
        now_s = runtime.now_s()
        early = admission.malformed(join) or admission.unproven(join, shown, now_s)
        if early is not None:
            return early
        try:
            if not await self._is_join_token(join.join_token):
                if shown.host_token and not self.keys:  # who cannot know whether it holds must not call it wrong
                    return Refusal("unavailable", "the brokers' keys were not read from the database yet")
                uncertified = admission.uncertified(join, shown, self.keys, now_s)
                if uncertified is not None:
                    return uncertified
            return await self._taken(join)
        except StoreFault as error:
            return Refusal("unavailable" if error.passing else "invalid", error.detail)

    async def _is_join_token(self, text: str) -> bool:
        if not text:
            return False
        if self._join_token and hmac.compare_digest(text.encode(), self._join_token):
            return True
        return await self._store.admits(text)

    async def _taken(self, join: hint.Join) -> Refusal | None:
        refusal = admission.taken(join, await self._bound(join.host))
        if refusal is None and join.role == "sandbox":
            if not await self._store.register_sandbox(join):
                detail = "an operator declared this incarnation dead; stop it and start it again"
                return Refusal("conflict", detail)
            # Another broker may have admitted another key under this id in the same moment: the last row holds.
            refusal = admission.taken(join, await self._bound(join.host))
        return refusal

    async def _bound(self, host: str) -> list[Bound]:
        bound = await self._store.bound(host)
        linked = self._registry.linked(host)
        return bound if linked is None else [*bound, Bound(linked.role, linked.public_key)]

    def _welcome(self, id_: int, linked: Linked, now_s: int) -> hint.Welcome:
        token = self._key.certify(host=linked.host, role=linked.role, host_key=linked.public_key, now_s=now_s)
        return hint.Welcome(id_, token, self.keys)


class _HostLink:
    """One accepted link: silent until it has joined, then a host's."""

    def __init__(self, links: HostLinks, shown: Shown) -> None:
        self._links, self._shown = links, shown
        self._linked: Linked | None = None
        self._late: asyncio.TimerHandle | None = None

    def on_open(self, peer: Peer) -> None:
        self._links.opened(peer)
        self._late = asyncio.get_running_loop().call_later(JOIN_S_MAX, peer.close)

    def on_close(self, peer: Peer) -> None:
        if self._late is not None:
            self._late.cancel()
        self._links.closed(peer, self._linked)

    async def on_frame(self, peer: Peer, frame: hint.ToBroker) -> None:
        if self._late is not None:
            self._late.cancel()
        linked = self._linked
        match frame:
            case hint.Join() if linked is None or linked.host == frame.host:
                self._linked = await self._links.admit(peer, frame, self._shown) or linked
            case hint.Beat() if linked is not None:
                await self._links.beat(peer, linked, frame)
            case hint.Place() if linked is not None:
                self._links.place(peer, frame)
            case _:
                peer.close()  # the first frame must be a Join, and a link is one host's


def _shown(headers: Mapping[str, str]) -> Shown:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return Shown(token if scheme == "Bearer" else "", headers.get(PROOF_HEADER, ""))
