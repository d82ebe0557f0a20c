"""Several dbt projects as one graph: which asset stands for each node, and what each is made of. Called by origin.py.

A source of one project whose relation another project makes is that other's asset: it has none of its own, and what
reads it hangs on the asset that makes it. The same holds for what one project knows of another by a cross-project ref.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from setpoint.contracts.resource.dbt_manifest import DbtNode, DbtProject, Relation
from setpoint.contracts.resource.source import excerpt

_UNFIT: Final = re.compile("[^a-z0-9._-]")
_OF_ASSETS: Final = ("model.", "seed.", "snapshot.", "source.")


class Place(NamedTuple):
    """A node of one Origin's manifest."""

    origin: str
    unique_id: str


@dataclass(frozen=True)
class Clash:
    """Something that two nodes cannot both be; ``second`` is where to report it, ``more`` how often again."""

    what: str
    first: Place
    second: Place
    more: int = 0


@dataclass
class Mesh:
    """The projects by the names of their Origins. ``Mesh.of`` builds it; nothing changes it later.

    ``assets`` are the names by the nodes that have an asset of their own; ``stands_for`` leads from a node that has
    none to the one in another project that it is.
    """

    projects: Mapping[str, DbtProject]
    assets: dict[Place, str] = field(default_factory=dict)
    stands_for: dict[Place, Place] = field(default_factory=dict)
    clashes: list[Clash] = field(default_factory=list)
    _owners: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, projects: Mapping[str, DbtProject]) -> Mesh:
        """Join projects. What cannot be is in ``clashes``; of two that clash the first has the asset."""
        mesh = cls(projects)
        for origin, project in projects.items():
            mesh._owners.setdefault(project.name, []).append(origin)
        mesh._find_foreign_nodes()
        mesh._find_sources(mesh._makers())
        mesh._name_assets()
        return mesh

    def upstreams(self, origin: str, node: DbtNode) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the assets that a node is made of, sorted, and the unique ids that lead nowhere.

        What is between two assets and none itself (a function, say) is walked through, so that no edge is lost.
        """
        found: set[str] = set()
        lost: set[str] = set()
        seen: set[str] = set()
        waiting = list(node.depends_on)
        while waiting:
            unique_id = waiting.pop()
            if unique_id in seen:
                continue
            seen.add(unique_id)
            home = self.home(Place(origin, unique_id))
            if home is not None:
                found.add(self.assets[home])
            elif unique_id in self.projects[origin].between:
                waiting += self.projects[origin].between[unique_id]
            elif unique_id.startswith(_OF_ASSETS) and unique_id not in self.projects[origin].nodes:
                lost.add(unique_id)
        return tuple(sorted(found)), tuple(sorted(lost))

    def home(self, place: Place) -> Place | None:
        """Return the node that has the asset of this one, in whichever project; None when there is no such asset."""
        there = self.stands_for.get(place, place)
        if there.unique_id not in self.projects[there.origin].nodes:
            owner = self._owner(there)
            there = there if owner is None else Place(owner, there.unique_id)
        return there if there in self.assets else None

    def _owner(self, place: Place) -> str | None:
        """Return the one other Origin whose own project has the node of this unique id."""
        package = place.unique_id.split(".")[1:2]
        owners = [name for name in self._owners.get(package[0], ()) if name != place.origin] if package else []
        having = [name for name in owners if place.unique_id in self.projects[name].nodes]
        return having[0] if len(having) == 1 else None

    def _find_foreign_nodes(self) -> None:
        """A node of another Origin's project that a manifest repeats, with the same relation, is that Origin's."""
        for origin, project in self.projects.items():
            for unique_id, node in project.nodes.items():
                if node.relation is None or not node.made or node.package in ("", project.name):
                    continue
                owner = self._owner(Place(origin, unique_id))
                if owner is not None and self.projects[owner].nodes[unique_id].relation == node.relation:
                    self.stands_for[Place(origin, unique_id)] = Place(owner, unique_id)

    def _makers(self) -> Mapping[Relation, Place]:
        """Return who makes each relation; two of different Origins is a clash, told once for each two Origins."""
        makers: dict[Relation, Place] = {}
        clashes: dict[tuple[str, str], Clash] = {}
        for place, node in self._nodes():
            if node.relation is None or not node.made or place in self.stands_for:
                continue
            first = makers.setdefault(node.relation, place)
            if first.origin != place.origin:
                told = clashes.get((first.origin, place.origin))
                shown = excerpt(".".join(part for part in node.relation[1:] if part))
                clash = Clash(f"both make the relation {shown}", first, place)
                clashes[first.origin, place.origin] = (
                    clash if told is None else Clash(told.what, told.first, told.second, told.more + 1)
                )
        self.clashes += clashes.values()
        return makers

    def _find_sources(self, makers: Mapping[Relation, Place]) -> None:
        for place, node in self._nodes():
            maker = makers.get(node.relation) if node.relation is not None and not node.made else None
            if maker is not None and maker.origin != place.origin:
                self.stands_for[place] = maker

    def _name_assets(self) -> None:
        taken: dict[str, Place] = {}
        for place, node in self._nodes():
            if place in self.stands_for:
                continue
            name = asset_name(place.origin, node)
            first = taken.setdefault(name, place)
            if first is place:
                self.assets[place] = name
            else:
                self.clashes.append(Clash(f"both would be the asset {excerpt(name)}", first, place))

    def _nodes(self) -> Iterator[tuple[Place, DbtNode]]:
        for origin, project in self.projects.items():
            for unique_id in sorted(project.nodes):
                yield Place(origin, unique_id), project.nodes[unique_id]


def asset_name(origin: str, node: DbtNode) -> str:
    """Return ``origin.model`` or ``origin.source.table``: in lower case, with ``_`` for what no name may have."""
    return ".".join((origin, *(_UNFIT.sub("_", part.lower()) for part in node.path)))
