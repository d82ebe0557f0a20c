"""The links to the sandbox hosts: one each, kept up, with fresh readings of its clock and keep-alives for open runs.

Lives of sessions ask for a link by host and are told when it comes and goes; what sandboxd pushes goes to the life that
waits for that run. Nothing here knows what a run is for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from celld.host.choice import Candidate
from celld.host.token import Reading, Readings
from celld.plane.key import Epoch, SessionKey
from celld.plane.lease import Lease
from celld.plane.ownership import SandboxHost, Standing
from migrations import outcome
from setpoint import runtime
from setpoint.contracts import grant, limits, run
from setpoint.identity import Identity
from setpoint.link import LinkClient, LinkDown

_CLOCK_S_MAX: Final = 2.0
_GRANT_RENEW_S: Final = limits.GRANT_S / 2
_KEEPALIVE_EVERY: Final = 2  # turns, so 2 s
_GRANTS_MAX: Final = 10_000
_LEAVES_MAX: Final = 4
"""So many sessions begin to leave drained sandbox hosts in a turn: each has a workspace made elsewhere."""
_STARTS_MAX: Final = 1_000
_STARTS_KEPT_S: Final = 60.0
_MARGIN_S: Final = 0.5  # for the rates of two clocks to differ in


ReadHosts = Callable[[], Awaitable[list[SandboxHost]]]
"""The registry of sandbox hosts; raises outcome.Fault."""


class Tenant(Protocol):
    """A life of a session that uses links: what it is told."""

    def link_lost(self, host: str) -> None:
        """The link to a sandbox host went down."""

    def pushed(self, frame: run.StepDone | run.RunDone) -> None:
        """A step or a run that this life waits for has ended."""

    def open_on(self, host: str) -> tuple[str, Epoch] | None:
        """Return session and epoch when the life has runs on this host that must be kept alive."""

    def leave(self, host: str) -> bool:
        """Begin to leave a sandbox host, when the workspace is there and nothing is under way; whether it did."""


class SandboxLink:
    """The link to one sandbox host. ``era`` counts its connections: each one is fenced anew."""

    def __init__(self, host: SandboxHost, identity: Identity, sandboxes: Sandboxes) -> None:
        self.host, self.address = host.host, host.address
        self.load = Candidate(host.host, host.running, host.slots)
        self.era = 0
        self.kept_alive_s = 0.0
        self._lets_in_until_s: dict[str, float] = {}
        self._identity, self._sandboxes = identity, sandboxes
        self._readings = Readings()
        self._grants: dict[tuple[SessionKey, Epoch], tuple[float, str]] = {}
        self._link = LinkClient(
            url=lambda: f"ws://{self.address}/link",
            headers=lambda: identity.headers(self.host),
            replies=run.Reply,
            on_push=self._pushed,
            on_up=self._up,
            on_down=self._down,
            name=f"sandboxd {self.host}",
        )
        self.task = asyncio.create_task(self._link.run())

    @property
    def connected(self) -> bool:
        """Tell whether the link is up now."""
        return self._link.connected

    def next_id(self) -> int:
        """Return a fresh request id."""
        return self._link.next_id()

    async def request(self, frame: run.Request, timeout_s: float) -> Any:
        """Ask and return the answer. Raises LinkDown, TimeoutError: then whether it had effect is unknown."""
        return await self._link.request(frame, timeout_s)

    def grant(self, key: SessionKey, epoch: Epoch) -> str:
        """Return a grant for a session on this host, signed anew when half of its life is over."""
        known = self._grants.get((key, epoch))
        now_s = runtime.boottime_s()
        if known is None or known[0] < now_s - _GRANT_RENEW_S:
            if len(self._grants) >= _GRANTS_MAX:
                self._grants.clear()
            signed = grant.sign_grant(
                self._identity.key,
                host=self._identity.host,
                sandbox_host=self.host,
                tenant=key.tenant,
                session=key.session,
                epoch=epoch,
                now_s=runtime.now_s(),
            )
            known = self._grants[key, epoch] = (now_s, signed)
        return known[1]

    async def read_clock(self) -> None:
        """Take a reading of the host's clock. Raises LinkDown, TimeoutError."""
        answer = await self.request(run.Clock(self.next_id()), _CLOCK_S_MAX)
        if isinstance(answer, run.ClockIs):
            self._readings.note(Reading(answer.token, runtime.boottime_s()))

    async def token(self, lease: Lease) -> run.ClockToken:
        """Return the token for a start or a change; waits for a reading and a renewal after it. Raises LinkDown."""
        while (found := self._readings.usable(lease.sent_s)) is None:
            if not self.connected:
                raise LinkDown(f"sandboxd {self.host}: not connected")
            received_s = self._readings.oldest_unused_s()
            if received_s is None:
                await self.read_clock()
            else:
                await lease.renewal_after(received_s)
        return found

    def keep_alive(self, sessions: tuple[tuple[str, Epoch], ...], lease: Lease) -> None:
        """Move the orphan deadlines of these sessions' runs, when there is a token for it."""
        token = self._readings.usable(lease.sent_s)
        if token is not None and sessions and self._link.send(run.KeepAlive(token, sessions)):
            self.kept_alive_s = runtime.boottime_s()

    def sends_start(self, run_id: str, token_s_max: float) -> None:
        """Note that a start goes out: it keeps alive as a keep-alive does, and may be let in while its token counts.

        That outlives the life of the cell that asked for it, as what is on its way does.
        """
        now_s = self.kept_alive_s = runtime.boottime_s()
        if len(self._lets_in_until_s) >= _STARTS_MAX:
            self._lets_in_until_s = {
                one: until_s for one, until_s in self._lets_in_until_s.items() if until_s > now_s - _STARTS_KEPT_S
            }
        self._lets_in_until_s[run_id] = now_s + token_s_max + _MARGIN_S

    def start_settled(self, run_id: str, but_until_s: float = 0.0) -> None:
        """Note that an answer told what came of a start; what came of an earlier one is open until ``but_until_s``."""
        if runtime.boottime_s() < but_until_s:
            self._lets_in_until_s[run_id] = but_until_s
        else:
            self._lets_in_until_s.pop(run_id, None)

    def lets_in_until_s(self, run_id: str) -> float:
        """Return until when a start that was sent may be let in (CLOCK_BOOTTIME), 0 when nothing is known of one."""
        return self._lets_in_until_s.get(run_id, 0.0)

    def was_sent(self, run_id: str) -> bool:
        """Tell whether a start was sent, not long ago, of which nobody knows what came of it."""
        return run_id in self._lets_in_until_s

    def may_come(self, run_id: str) -> bool:
        """Tell whether such a start may still be let in, although the host does not know of it yet."""
        return runtime.boottime_s() < self._lets_in_until_s.get(run_id, 0.0)

    def inherit(self, former: SandboxLink) -> None:
        """Know what the link to the same host at its former address knew."""
        self.kept_alive_s, self._lets_in_until_s = former.kept_alive_s, former._lets_in_until_s

    def _up(self) -> None:
        self.era += 1
        self._readings.clear()
        self._sandboxes.tell()

    def _down(self) -> None:
        self._readings.clear()
        self._sandboxes.link_lost(self.host)

    def _pushed(self, frame: object) -> None:
        if isinstance(frame, run.StepDone | run.RunDone):
            self._sandboxes.pushed(frame)


class Sandboxes:
    """All sandbox hosts. ``run`` keeps the set current until cancelled; ``read_hosts`` is the registry."""

    def __init__(self, identity: Identity, lease: Lease, read_hosts: ReadHosts) -> None:
        self._identity, self._lease, self._read_hosts = identity, lease, read_hosts
        self._links: dict[str, SandboxLink] = {}
        self._tenants: set[Tenant] = set()
        self._runs: dict[str, Tenant] = {}
        self._registry: Mapping[str, SandboxHost] = {}
        self._read_s = 0.0
        self._change = asyncio.Event()

    def link(self, host: str) -> SandboxLink | None:
        """Return the link to a host, up or down; None for a host that is not registered, or is dead."""
        return self._links.get(host)

    def standing(self, host: str) -> Standing | None:
        """Return how a host stands by the registry; None for one that is not registered."""
        known = self._registry.get(host)
        return known.standing if known is not None else None

    def is_heard(self, host: str, within_s: float) -> bool:
        """Tell whether a broker heard of a host within the last seconds: then it lives, whoever cannot reach it."""
        known = self._registry.get(host)
        return known is not None and known.seen_age_s + runtime.boottime_s() - self._read_s < within_s

    def takers(self, beside: str) -> list[Candidate]:
        """Return the hosts that can be reached and take a new workspace now, beside one."""
        return [one for one in self.candidates() if one.host != beside]

    def candidates(self) -> list[Candidate]:
        """Return the hosts that can be reached now, with their load."""
        return [link.load for link in self._links.values() if link.connected and link.load.slots > 0]

    def enter(self, tenant: Tenant) -> None:
        """Tell a life about links from now on."""
        self._tenants.add(tenant)

    def leave(self, tenant: Tenant) -> None:
        """Forget a life and the runs it waits for."""
        self._tenants.discard(tenant)
        for run_id in [run_id for run_id, waiting in self._runs.items() if waiting is tenant]:
            del self._runs[run_id]

    def expect(self, run_id: str, tenant: Tenant) -> None:
        """Send what is pushed about a run to this life."""
        self._runs[run_id] = tenant

    def pushed(self, frame: run.StepDone | run.RunDone) -> None:
        """Hand a push to the life that waits for it; one that nobody waits for is asked for again by whoever will."""
        tenant = self._runs.get(frame.run_id)
        if tenant is not None:
            if isinstance(frame, run.RunDone):
                del self._runs[frame.run_id]
            tenant.pushed(frame)

    def link_lost(self, host: str) -> None:
        """Tell every life that a link went down."""
        for tenant in list(self._tenants):
            tenant.link_lost(host)
        self.tell()

    def tell(self) -> None:
        """Wake everybody who waits for a change of the links."""
        self._change.set()
        self._change = asyncio.Event()

    async def change(self, within_s: float) -> None:
        """Wait until a link comes or goes, at most so long."""
        event = self._change
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await event.wait()

    async def run(self) -> None:
        """Keep a link to every registered host, read the clocks and keep runs alive, until cancelled."""
        turn = 0
        try:
            while True:
                await self._refresh()
                await asyncio.gather(*(self._read_clock(link) for link in self._links.values()))
                turn += 1
                if turn % _KEEPALIVE_EVERY == 0:
                    self._keep_alive()
                self._leave()
                await asyncio.sleep(limits.POLL_S)
        finally:
            for link in self._links.values():
                link.task.cancel()
            await asyncio.gather(*(link.task for link in self._links.values()), return_exceptions=True)

    async def _refresh(self) -> None:
        try:
            hosts: Mapping[str, SandboxHost] = {host.host: host for host in await self._read_hosts()}
        except outcome.Fault:
            return  # the links that are up stay up
        self._registry, self._read_s = hosts, runtime.boottime_s()
        alive = {name: host for name, host in hosts.items() if host.standing != "dead"}
        former: dict[str, SandboxLink] = {}
        for name, link in list(self._links.items()):
            if name not in alive or alive[name].address != link.address:
                link.task.cancel()
                former[name] = self._links.pop(name)
        for name, host in alive.items():
            if name not in self._links:
                self._links[name] = SandboxLink(host, self._identity, self)
                if name in former:
                    self._links[name].inherit(former[name])
            self._links[name].load = Candidate(name, host.running, host.slots if host.standing == "ready" else 0)

    async def _read_clock(self, link: SandboxLink) -> None:
        if link.connected:
            with contextlib.suppress(LinkDown, TimeoutError):  # the next turn reads again
                await link.read_clock()

    def _leave(self) -> None:
        """Have sessions leave the hosts that are drained, a few at a time; one that has runs leaves later."""
        began = 0
        for host in [name for name, known in self._registry.items() if known.standing == "draining"]:
            for tenant in list(self._tenants) if self.takers(host) else []:
                began += began < _LEAVES_MAX and tenant.leave(host)

    def _keep_alive(self) -> None:
        for link in self._links.values():
            sessions = (tenant.open_on(link.host) for tenant in self._tenants)
            link.keep_alive(tuple(found for found in sessions if found is not None), self._lease)
