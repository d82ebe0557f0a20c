"""What an operator wants of this cell host, and which others take sessions, as the last poll saw it.

The sweep reads it once a second; owners and their lives only look. It is a hint: what it leads to is decided in the
database, by a release that names its epoch.
"""

from __future__ import annotations

from celld.plane.ownership import Ownership, Told


class Orders:
    """The last reading; nothing is known before the first."""

    def __init__(self) -> None:
        self._told = Told("serve", frozenset())

    @property
    def others(self) -> frozenset[str]:
        """Return the other cell hosts that take sessions."""
        return self._told.others

    @property
    def leaving(self) -> bool:
        """Tell whether sessions are to go to other hosts now: this one is drained, and there is another."""
        return self._told.ordered == "drain" and bool(self._told.others)

    async def read(self, ownership: Ownership) -> None:
        """Read again. Raises outcome.Fault."""
        self._told = await ownership.told()
