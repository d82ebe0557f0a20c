"""What the parts of the shell share: made once by the daemon, handed to every owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from celld.host.cells import Cells
from celld.host.orders import Orders
from celld.host.sandboxes import Sandboxes
from celld.plane.commit import Committer
from celld.plane.key import SessionKey
from celld.plane.lease import Lease
from celld.plane.ownership import Ownership
from migrations.door import Pool
from setpoint.brokerlink import BrokerLink
from setpoint.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Rooms:
    """The collaborators of one celld. ``moved`` is told each new head, as a hint for gateways.

    ``quiet_s``: for how long nothing happens to a session before it is put to sleep. ``suspects``: held while an input
    is delivered that may have ended a host.
    """

    host: str
    pool: Pool
    ownership: Ownership
    committer: Committer
    store: ObjectStore
    cells: Cells
    lease: Lease
    sandboxes: Sandboxes
    broker: BrokerLink
    moved: Callable[[SessionKey, int], None]
    quiet_s: float
    orders: Orders
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)
