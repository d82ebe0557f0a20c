"""Links to the cell hosts: pokes down, moved heads up, and output of running steps relayed. Hints only.

Everything works without a single link, a second slower. The list of hosts comes from the database each second, or at
once when a command met an owner that is not linked yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.store.hosts import CellHost
from setpoint import runtime
from setpoint.contracts import hint
from setpoint.contracts.limits import POLL_S
from setpoint.contracts.problem import Problem
from setpoint.contracts.reply import OutputIs, Refused
from setpoint.identity import Identity
from setpoint.link import LinkClient, LinkDown

_OUTPUT_S_MAX: Final = 5.0
_LINKS_MAX: Final = 1000


@dataclass(eq=False)
class _Linked:
    """A host with its link and the task that keeps it up."""

    host: CellHost
    link: LinkClient
    task: asyncio.Task[None]


class CellLinks:
    """A link to each ready cell host. ``run`` keeps the set current until cancelled."""

    def __init__(
        self,
        identity: Identity,
        read_hosts: Callable[[], Awaitable[list[CellHost]]],
        on_moved: Callable[[tuple[tuple[str, str, int], ...]], None],
    ) -> None:
        self._identity, self._read_hosts, self._on_moved = identity, read_hosts, on_moved
        self._linked: dict[str, _Linked] = {}
        self._look_again = asyncio.Event()

    @property
    def connected(self) -> int:
        """Return how many links are up."""
        return sum(linked.link.connected for linked in self._linked.values())

    def poke(self, tenant_id: str, session_id: str, host: str | None) -> bool:
        """Tell ``host`` to look now, or any host when it is None or not linked; False when nobody could be told."""
        frame = hint.Poke(tenant_id, session_id)
        if host is not None:
            linked = self._linked.get(host)
            if linked is not None and linked.link.send(frame):
                return True
            self._look_again.set()
        return any(linked.link.send(frame) for linked in self._linked.values())

    async def read_output(self, host: str, question: Mapping[str, Any]) -> OutputIs | Refused:
        """Read output of a run through the owner of its session. Raises Problem unavailable when it does not answer.

        ``question`` holds the fields of ``hint.ReadSessionOutput`` but its id.
        """
        linked = self._linked.get(host)
        if linked is None:
            self._look_again.set()
            raise Problem("unavailable", f"no link to the session's owner {host} yet", retry_after_s=1)
        frame = hint.ReadSessionOutput(id=linked.link.next_id(), **question)
        try:
            answer: OutputIs | Refused = await linked.link.request(frame, _OUTPUT_S_MAX)
        except (LinkDown, TimeoutError) as error:
            raise Problem("unavailable", f"the session's owner {host} does not answer", retry_after_s=1) from error
        return answer

    async def run(self) -> None:
        """Keep a link to every ready cell host until cancelled."""
        try:
            while True:
                await self._refresh()
                self._look_again.clear()
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._look_again.wait()
                except TimeoutError:
                    continue
        finally:
            for linked in self._linked.values():
                linked.task.cancel()
            await asyncio.gather(*(linked.task for linked in self._linked.values()), return_exceptions=True)
            self._linked.clear()

    async def _refresh(self) -> None:
        if not self._identity.host_token:  # no cell host would let us in before a broker has admitted us
            return
        try:
            hosts = {host.host: host for host in (await self._read_hosts())[:_LINKS_MAX]}
        except Problem:
            return  # the links that are up stay up; a look at the hosts can wait
        for name, linked in list(self._linked.items()):
            if hosts.get(name) != linked.host:
                linked.task.cancel()
                del self._linked[name]
        for name, host in hosts.items():
            if name not in self._linked:
                self._linked[name] = self._open(host)

    def _open(self, host: CellHost) -> _Linked:
        link = LinkClient(
            url=lambda: f"ws://{host.address}/link",
            headers=lambda: self._identity.headers(host.host),
            replies=hint.FromCelld,
            on_push=self._pushed,
            name=f"celld {host.host}",
        )
        task = asyncio.create_task(link.run())
        task.add_done_callback(_say_why)
        return _Linked(host, link, task)

    def _pushed(self, frame: object) -> None:
        if isinstance(frame, hint.Moved):
            self._on_moved(frame.heads)


def _say_why(task: asyncio.Task[None]) -> None:
    """A link task only ends by being cancelled; anything else is a defect that must be seen."""
    if not task.cancelled() and (error := task.exception()):
        runtime.log().error("a link to a cell host ended", error=f"{type(error).__name__}: {error}")
