"""Every session this host owns, each with its owner and that owner's task."""

from __future__ import annotations

import asyncio
from typing import Final

import prometheus_client

from celld.host.owner import Owner
from celld.host.rooms import Rooms
from celld.plane.key import Held, SessionKey
from celld.plane.ownership import Recorded
from setpoint import runtime
from setpoint.contracts import limits

SESSIONS: Final = prometheus_client.Gauge("setpoint_celld_sessions", "Sessions owned")
DRAIN_S_MAX: Final = 5.0
GIVEN_S_MAX: Final = 5.0
"""So long a drain waits for one session before it turns to the next; that one goes when it can."""
PACE_S: Final = 0.05
"""Between two sessions of a drain: whoever takes them has to begin their cells."""


class Owners:
    """The owners by session. ``tasks`` gets their tasks: what an owner does not survive, celld does not either."""

    def __init__(self, rooms: Rooms, tasks: asyncio.TaskGroup) -> None:
        self._rooms, self._tasks = rooms, tasks
        self._owners: dict[SessionKey, tuple[Owner, asyncio.Task[None]]] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._owners)

    def cells(self) -> int:
        """Return how many sessions have a cell."""
        return sum(owner.cell_pid is not None for owner, _ in self._owners.values())

    def get(self, key: SessionKey) -> Owner | None:
        """Return the owner of a session, None when this host does not own it."""
        found = self._owners.get(key)
        return found[0] if found is not None else None

    def start(self, held: Held) -> None:
        """Own a session from now on. One that is owned already under this epoch stays as it is."""
        known = self._owners.get(held.key)
        if self._draining or (known is not None and known[0].held.epoch >= held.epoch):
            return
        if known is not None:
            self._drop(held.key)
        owner = Owner(self._rooms, held)
        task = self._tasks.create_task(owner.run(), name=f"session {held.key.session}")
        self._owners[held.key] = (owner, task)
        SESSIONS.set(len(self._owners))
        task.add_done_callback(lambda _: self._forget(held.key, owner))

    def known(self) -> dict[SessionKey, Owner]:
        """Return who owns what now, to be compared with a reading that begins now."""
        return {key: owner for key, (owner, _) in self._owners.items()}

    def reconcile(self, recorded: list[Recorded], before: dict[SessionKey, Owner]) -> None:
        """Bring the owners in line with the database: own what is recorded, drop what is not, look where work waits.

        ``before`` are the owners from before ``recorded`` was read: younger ones cannot be in it.
        """
        mine = {one.held.key: one for one in recorded}
        for key, owner in before.items():
            if key not in mine and self.get(key) is owner:
                runtime.log().warning("session dropped: it is not recorded as ours", session=key.session)
                self._drop(key)
        for key, one in mine.items():
            owner_now = self.get(key)
            if owner_now is None and key in before:
                continue  # released while the reading was under way
            if owner_now is None or owner_now.held.epoch < one.held.epoch:
                self.start(one.held)
            elif one.waiting:
                owner_now.look()

    async def move_out(self) -> None:
        """While an operator has this host drained, give its sessions away one after the other; until cancelled."""
        while True:
            for key in list(self._owners):
                owned = self._owners.get(key)
                if owned is None or not self._rooms.orders.leaving:
                    continue
                owned[0].stop()
                await asyncio.wait({owned[1]}, timeout=GIVEN_S_MAX)
                await asyncio.sleep(PACE_S)
            await asyncio.sleep(limits.POLL_S)

    async def drain(self) -> None:
        """Give every session to other hosts, within DRAIN_S_MAX; what is left then is found by the lease's end."""
        self._draining = True
        for owner, _ in self._owners.values():
            owner.stop()
        tasks = {task for _, task in self._owners.values()}
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=DRAIN_S_MAX)
            if left:
                runtime.log().warning("not every session was given away in time", left=len(left))
        self.abandon()

    def abandon(self) -> None:
        """Stop all owners where they stand."""
        self._draining = True
        for key in list(self._owners):
            self._drop(key)

    def _drop(self, key: SessionKey) -> None:
        _, task = self._owners.pop(key)
        task.cancel()
        SESSIONS.set(len(self._owners))

    def _forget(self, key: SessionKey, owner: Owner) -> None:
        if self.get(key) is owner:
            del self._owners[key]
            SESSIONS.set(len(self._owners))
