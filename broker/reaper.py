"""Finds out which hosts are dead, and says so in the database: at once when they refuse, else when the lease is over.

``links`` names each host whose link was lost; ``app`` calls ``sweep`` once a second. A wrong mark costs a session a
move and never its safety, because the epoch decides; that is why one broker's look is enough.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp
import msgspec

from broker import meters
from broker.registry import Linked, Registry
from broker.store import Store, StoreFault
from setpoint import failpoints, runtime

PROBE_S_MAX: Final = 0.5
BETWEEN_S: Final = 0.1
REFUSALS: Final = 2
PROBES_MAX: Final = 4
LOST_MAX: Final = 512
SWEEP_MAX: Final = 100
_ANSWER_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody answered the probe as this host and incarnation (empty: it did not say)."""

    host: str
    incarnation: str


Probe = Answered | Literal["refused", "reset", "silent"]


class _Health(msgspec.Struct, frozen=True):
    """What is read of a ``/healthz``."""

    host: str = ""
    incarnation: str = ""


class Reaper:
    """The probes and marks of one broker. ``lost`` only takes note; ``run`` does the work until cancelled."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._lost: asyncio.Queue[Linked] = asyncio.Queue(LOST_MAX)

    def lost(self, linked: Linked) -> None:
        """Take note that the link of a host is gone. Nothing waits for this: beyond LOST_MAX the lease decides."""
        if linked.role != "gateway" and not self._lost.full():
            self._lost.put_nowait(linked)

    async def run(self) -> None:
        """Look after every lost host, all at the same time, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=PROBE_S_MAX)
        connector = aiohttp.TCPConnector(limit=LOST_MAX, force_close=True)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as http,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                tasks.create_task(self._look_after(http, await self._lost.get()))

    async def sweep(self) -> None:
        """Mark the cell hosts whose lease is over and make their sessions due. Raises StoreFault."""
        for host, incarnation in (await self._store.dead_hosts())[:SWEEP_MAX]:
            due = await self._store.host_dead(host, incarnation, refused=False)
            if due >= 0:
                meters.MARKED.labels("cell", "lease").inc()
                runtime.log().warning("lease of a cell host is over", host=host, incarnation=incarnation, due=due)

    async def _look_after(self, http: aiohttp.ClientSession, linked: Linked) -> None:
        if not await is_gone(http, linked) or self._is_back(linked):
            runtime.log().info("lost host may live", host=linked.host, incarnation=linked.incarnation)
            return
        failpoints.hit("broker.reaper.before_mark")
        try:
            if linked.role == "cell":
                due = await self._store.host_dead(linked.host, linked.incarnation, refused=True)
                runtime.log().warning("cell host is dead", host=linked.host, incarnation=linked.incarnation, due=due)
            else:
                await self._store.sandbox_gone(linked.host, linked.incarnation)
                runtime.log().warning("sandbox host is gone", host=linked.host, incarnation=linked.incarnation)
            meters.MARKED.labels(linked.role, "refused").inc()
        except StoreFault as error:
            runtime.log().warning("could not mark a dead host", host=linked.host, why=error.detail[:200])

    def _is_back(self, linked: Linked) -> bool:
        now = self._registry.linked(linked.host)
        return now is not None and now.incarnation == linked.incarnation


async def is_gone(http: aiohttp.ClientSession, linked: Linked) -> bool:
    """Probe a host at its advertised address: True only when that incarnation can no longer run there.

    That is when it refuses twice in a row, or when another incarnation of the same host answers in its place. No
    answer means nothing: a frozen or far process may still come back.
    """
    refused = 0
    for n in range(PROBES_MAX):
        if n:
            await asyncio.sleep(BETWEEN_S)
        answer = await _probe(http, linked.address)
        if isinstance(answer, Answered):
            return answer.host == linked.host and answer.incarnation not in ("", linked.incarnation)
        if answer == "silent":
            return False
        refused = refused + 1 if answer == "refused" else 0  # reset: it was met while dying, or is overloaded
        if refused == REFUSALS:
            return True
    return False


async def _probe(http: aiohttp.ClientSession, address: str) -> Probe:
    try:
        async with http.get(f"http://{address}/healthz", allow_redirects=False) as answer:
            health = msgspec.json.decode(await answer.content.read(_ANSWER_BYTES_MAX), type=_Health)
            return Answered(health.host, health.incarnation)
    except aiohttp.ClientConnectorError as error:
        return "refused" if error.os_error.errno == errno.ECONNREFUSED else "silent"
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
        return "reset"
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return "silent"
