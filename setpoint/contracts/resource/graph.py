"""The graph of upstreams: its cycles (compile refuses them), its reverse, its order. Called by compile and the core.

Every walk is iterative: a chain of 10,000 assets must not end in a recursion error.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping

from setpoint.contracts.resource.model import CompiledSet

Upstreams = Mapping[str, Collection[str]]
"""For every node the nodes it depends on. Names that are no node themselves are ignored."""


def upstreams_of(compiled: CompiledSet) -> dict[str, tuple[str, ...]]:
    """Return the direct upstreams of every asset."""
    return {name: asset.upstreams for name, asset in compiled.assets.items()}


def downstreams(upstreams: Upstreams) -> dict[str, tuple[str, ...]]:
    """Return for every node the nodes that name it as an upstream, sorted."""
    below: dict[str, list[str]] = {name: [] for name in upstreams}
    for name in sorted(upstreams):
        for upstream in set(upstreams[name]):
            if upstream in below:
                below[upstream].append(name)
    return {name: tuple(names) for name, names in below.items()}


def topological_order(upstreams: Upstreams) -> tuple[str, ...]:
    """Return the nodes so that each follows all its upstreams; among those that could be next, by name.

    Raises ValueError when there is a cycle.
    """
    below = downstreams(upstreams)
    waiting_for = {name: len({node for node in nodes if node in upstreams}) for name, nodes in upstreams.items()}
    ready = [name for name, count in waiting_for.items() if count == 0]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for node in below[name]:
            waiting_for[node] -= 1
            if waiting_for[node] == 0:
                heapq.heappush(ready, node)
    if len(order) < len(upstreams):
        raise ValueError("the graph has a cycle")
    return tuple(order)


def cycles(upstreams: Upstreams) -> tuple[tuple[str, ...], ...]:
    """Return one closed walk per knot of nodes that depend on each other: ``(a, b, c)`` is a on b, b on c, c on a.

    Only nodes on the cycle are named, never an innocent neighbour; each walk starts with its least name and is the
    shortest through it. Sorted.
    """
    found = []
    for knot in _components(upstreams):
        least = min(knot)
        if len(knot) > 1 or least in upstreams[least]:
            found.append(_shortest_walk(upstreams, knot, least))
    return tuple(sorted(found))


def _shortest_walk(upstreams: Upstreams, knot: frozenset[str], start: str) -> tuple[str, ...]:
    came_from: dict[str, str] = {}
    frontier = [start]
    while frontier:
        following: list[str] = []
        for name in frontier:
            for upstream in sorted(set(upstreams[name]) & knot):
                if upstream == start:
                    return _walk_back(came_from, name, start)
                if upstream not in came_from:
                    came_from[upstream] = name
                    following.append(upstream)
        frontier = following
    raise AssertionError("a strongly connected component has a walk back to each of its nodes")


def _walk_back(came_from: Mapping[str, str], end: str, start: str) -> tuple[str, ...]:
    walk = [end]
    while walk[-1] != start:
        walk.append(came_from[walk[-1]])
    return tuple(reversed(walk))


def _components(upstreams: Upstreams) -> Iterator[frozenset[str]]:
    """Yield the strongly connected components (Tarjan's algorithm with its stack made explicit)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in upstreams:
        if root in order:
            continue
        work = [(root, iter(upstreams[root]))]
        while work:
            name, rest = work[-1]
            if name not in order:
                order[name] = low[name] = len(order)
                stack.append(name)
                on_stack.add(name)
            for upstream in rest:
                if upstream not in upstreams:
                    continue
                if upstream not in order:
                    work.append((upstream, iter(upstreams[upstream])))
                    break
                if upstream in on_stack:
                    low[name] = min(low[name], order[upstream])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == order[name]:
                    yield _pop_component(stack, on_stack, name)


def _pop_component(stack: list[str], on_stack: set[str], root: str) -> frozenset[str]:
    names: list[str] = []
    while not names or names[-1] != root:
        names.append(stack.pop())
        on_stack.discard(names[-1])
    return frozenset(names)
