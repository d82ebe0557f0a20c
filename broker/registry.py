"""Who is linked to this broker, what the database last said of all hosts, and who may take a new session.

``links`` writes what hosts say of themselves, ``app`` the database's view once a second; ``operator`` and placement
read. All of it is memory that may be lost: a restarted broker has it again after one poll and the hosts' next joins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from broker.placement import Candidate
from broker.store import HostRow
from setpoint.contracts.hint import Role
from setpoint.contracts.limits import LEASE_TTL_S
from setpoint.web import Peer

_COUNTS: Final[Mapping[str, tuple[str, str]]] = {"cell": ("sessions", "sessions_max"), "sandbox": ("running", "slots")}
"""Which words of a capacity document say how much is used and how much room there is."""


@dataclass(frozen=True, slots=True)
class Linked:
    """An admitted host on a live link. ``certified_at_s`` is when its host token was signed."""

    host: str
    role: Role
    public_key: str
    incarnation: str
    address: str
    capacity: dict[str, Any]
    certified_at_s: int


class Registry:
    """The broker's picture of the hosts. One link per host id: a later one with the same key takes its place."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}
        self._linked: dict[str, Linked] = {}
        self._rows: dict[str, HostRow] = {}
        self._placed: Counter[str] = Counter()

    def join(self, peer: Peer, linked: Linked) -> Peer | None:
        """Note an admitted host; returns the peer it replaces, which the caller closes."""
        replaced = self._peers.get(linked.host)
        self._peers[linked.host], self._linked[linked.host] = peer, linked
        return replaced if replaced is not peer else None

    def is_current(self, host: str, peer: Peer) -> bool:
        """Tell whether ``peer`` is the link of a host that counts."""
        return self._peers.get(host) is peer

    def leave(self, host: str, peer: Peer) -> Linked | None:
        """Forget the link of a host; None when another link has taken its place meanwhile."""
        if self._peers.get(host) is not peer:
            return None
        del self._peers[host]
        return self._linked.pop(host)

    def beat(self, host: str, capacity: dict[str, Any]) -> None:
        """Note what a linked host says of its load."""
        self._linked[host] = replace(self._linked[host], capacity=capacity)

    def certified(self, host: str, at_s: int) -> None:
        """Note that a linked host got a new host token."""
        self._linked[host] = replace(self._linked[host], certified_at_s=at_s)

    def linked(self, host: str) -> Linked | None:
        """Return a host that is linked here, None when it is not."""
        return self._linked.get(host)

    def links(self) -> list[tuple[Peer, Linked]]:
        """Return all links with their hosts."""
        return [(self._peers[host], linked) for host, linked in self._linked.items()]

    def see(self, rows: Iterable[HostRow]) -> None:
        """Take over the database's view; what was placed since the last one is in it or will not come."""
        self._rows = {row.host: row for row in rows}
        self._placed.clear()

    def placed(self, host: str) -> None:
        """Count a session that was just sent to a host, until the database's view shows it."""
        self._placed[host] += 1

    def candidates(self, role: Literal["cell", "sandbox"]) -> list[Candidate]:
        """Return the hosts of a role that live and take new sessions."""
        return [self._candidate(row) for row in self._rows.values() if row.role == role and self._takes(row)]

    def _takes(self, row: HostRow) -> bool:
        return takes_sessions(row) and self._capacity(row).get("draining") is not True

    def _capacity(self, row: HostRow) -> dict[str, Any]:
        """Return what a host said last: on its link to this broker, else what the database has of it."""
        linked = self._linked.get(row.host)
        return linked.capacity if linked is not None and linked.incarnation == row.incarnation else row.capacity

    def _candidate(self, row: HostRow) -> Candidate:
        capacity = self._capacity(row)
        used_word, room_word = _COUNTS[row.role]
        known = row.sessions if row.role == "cell" else 0
        used = max(known, _count(capacity, used_word)) + self._placed[row.host]
        return Candidate(row.host, row.address, row.incarnation, used, _count(capacity, room_word))


def takes_sessions(row: HostRow) -> bool:
    """Tell whether a host lives and may be given something new, as far as the database knows."""
    if row.state != "ready" or row.ordered != "serve":
        return False
    if row.expires_in_s is not None:
        return row.expires_in_s > 0
    return row.seen_age_s < LEASE_TTL_S


def _count(capacity: Mapping[str, Any], word: str) -> int:
    """Read a count that a host says of itself; what is none counts as unknown."""
    value = capacity.get(word)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else 0
