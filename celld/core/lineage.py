"""Who is above whom in the graph of a generation, in a form that answers for all of an asset's upstreams at once.

Built by ``schedule.rebuild`` when a project is applied and never changed. Sets of assets are whole numbers: bit ``n``
stands for the ``n``-th name of ``order``, so that to look through ten thousand upstreams is one operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Lineage(msgspec.Struct, frozen=True):
    """``order`` has upstreams first, ``places`` says where in it a name is, ``above`` has its transitive upstreams."""

    order: tuple[str, ...] = ()
    places: dict[str, int] = {}
    above: dict[str, int] = {}

    def bit(self, name: str) -> int:
        """Return the set of this one asset."""
        return 1 << self.places[name]

    def first(self, name: str, among: int) -> str:
        """Return the first in order of those in ``among`` that are above ``name``; empty when none is."""
        found = self.above[name] & among
        return self.order[(found & -found).bit_length() - 1] if found else ""


def trace(order: Iterable[str], upstreams: Mapping[str, Iterable[str]]) -> Lineage:
    """Return the lineage of a graph. ``order`` names every node, upstreams first."""
    names = tuple(order)
    places = {name: place for place, name in enumerate(names)}
    above: dict[str, int] = {}
    for name in names:
        found = 0
        for upstream in upstreams[name]:
            found |= above[upstream] | 1 << places[upstream]
        above[name] = found
    return Lineage(names, places, above)
