"""A host's link to the brokers: admission, heartbeat, and the question where to place a session.

gateway, celld and sandboxd run one. Without any broker it keeps trying quietly: nothing waits for it but the very
first admission of a host (architecture.md section 5).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from setpoint import runtime
from setpoint.contracts import grant, hint, limits
from setpoint.contracts.reply import Refused
from setpoint.identity import Identity
from setpoint.link import LinkClient, LinkDown


class BrokerLink:
    """The link of one host to the first reachable broker of ``brokers`` (``host:port`` each).

    ``join_token`` admits a host that has no token yet. ``capacity`` is asked at every beat and must be cheap.
    ``admitted`` is set as soon as the host holds a host token and at least one broker key.
    """

    def __init__(
        self,
        identity: Identity,
        brokers: Sequence[str],
        *,
        join_token: str = "",
        address: str = "",
        ledger_id: str = "",
        capacity: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._identity, self._brokers = identity, list(brokers)
        self._join_token, self._address, self._ledger_id = join_token, address, ledger_id
        self._capacity = capacity
        self._turn = -1
        self._distrusted = False
        self._up, self._lost = asyncio.Event(), asyncio.Event()
        self.admitted = asyncio.Event()
        self._link = LinkClient(
            url=self._url,
            headers=self._headers,
            replies=hint.FromBroker,
            on_push=self._pushed,
            on_up=self._up.set,
            on_down=self._went_down,
            name="broker",
        )
        self._note_admission()

    @property
    def connected(self) -> bool:
        """Tell whether a broker is reachable now."""
        return self._link.connected

    async def run(self) -> None:
        """Keep the link up, the host admitted and its heart beating, until cancelled."""
        if not self._brokers:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            tasks.create_task(self._beat())

    async def place(
        self,
        role: Literal["cell", "sandbox"],
        session: str,
        *,
        sticky: str = "",
        avoid: str = "",
        timeout_s: float = 0.3,
    ) -> hint.Placed | None:
        """Ask which host to use; None when no broker answers in time or none has room: then choose without it."""
        question = hint.Place(self._link.next_id(), role, session, sticky, avoid)
        try:
            answer = await self._link.request(question, timeout_s)
        except (LinkDown, TimeoutError):
            return None
        return answer if isinstance(answer, hint.Placed) else None

    def _url(self) -> str:
        self._turn = (self._turn + 1) % len(self._brokers)
        return f"ws://{self._brokers[self._turn]}/ws"

    def _headers(self) -> dict[str, str]:
        # Without a host token yet the proof alone shows that the key of the Join is really this host's.
        return self._identity.headers("broker")

    async def _beat(self) -> None:
        while True:
            await self._up.wait()
            self._lost.clear()
            try:
                await self._join()
                # Each connection begins with a Join: a link that came back between two beats is a new one.
                while not self._lost.is_set():
                    self._link.send(hint.Beat(self._capacity()))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(limits.LEASE_RENEW_S):
                            await self._lost.wait()
            except (LinkDown, TimeoutError):
                await asyncio.sleep(limits.POLL_S)

    async def _join(self) -> None:
        identity = self._identity
        answer = await self._link.request(
            hint.Join(
                self._link.next_id(),
                identity.host,
                identity.role,
                identity.public_key,
                identity.incarnation,
                self._address,
                self._ledger_id,
                self._join_token if self._distrusted or not self._token_is_fresh() else "",
                self._capacity(),
            ),
            timeout_s=5.0,
        )
        if isinstance(answer, Refused):
            runtime.log().error("broker refuses this host", code=answer.code, detail=answer.detail)
            # The broker may not know who signed our token, e.g. in a new installation: then we are new to it.
            self._distrusted = answer.code == "unauthenticated"
            raise LinkDown(answer.detail)
        self._distrusted = False
        self._learn(answer)

    def _went_down(self) -> None:
        self._up.clear()
        self._lost.set()

    def _pushed(self, frame: object) -> None:
        if isinstance(frame, hint.Welcome):
            self._learn(frame)

    def _learn(self, welcome: hint.Welcome) -> None:
        self._identity.learn(host_token=welcome.host_token, keys=welcome.keys)
        self._note_admission()

    def _token_is_fresh(self) -> bool:
        if not self._identity.host_token:
            return False
        try:
            grant.verify_host_token(self._identity.host_token, self._identity.keys, runtime.now_s())
        except grant.TokenRefused:
            return False
        return True

    def _note_admission(self) -> None:
        if self._token_is_fresh():
            self.admitted.set()
