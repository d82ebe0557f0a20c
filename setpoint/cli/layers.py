"""Where the boxes of a graph stand: in layers from left to right, with few crossings. Pure; called by ``svg``.

Written out here because what there is for it in Python alone is either not looked after any more, or brings a numeric
library along; the others call a program that would have to be installed. Three steps: the longest way from a source
gives the layer, sweeps by the mean of the neighbours give the order, and within that order every box comes as near to
its neighbours as the boxes beside it allow. A line that passes a layer gets a place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from setpoint.contracts.resource.graph import topological_order

_SWEEPS: Final = 8
_BENDS_MAX: Final = 20_000
"""Beyond as many places of passing lines these are drawn straight: a picture of that size is read by nobody."""
_LINE_ROOM: Final = 0.4


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of boxes and of the bends of lines. ``row`` counts in steps of one box, from 0 at the top."""

    layer: Mapping[str, int]
    row: Mapping[str, float]
    lines: Sequence[tuple[str, ...]]
    """Each line as the places it goes through, from an upstream to what is made of it; bends are no assets."""


@dataclass(frozen=True, slots=True)
class _Layers:
    """Places by layer, in their order; and the neighbours of each place in the layers beside its own."""

    order: list[list[str]]
    above: dict[str, list[str]]
    below: dict[str, list[str]]
    lines: list[tuple[str, ...]]


def lay_out(upstreams: Mapping[str, Sequence[str]]) -> Layout:
    """Return a layout of a graph without cycles; the same for the same graph."""
    layer: dict[str, int] = {}
    for name in topological_order(upstreams):
        layer[name] = max((layer[up] + 1 for up in upstreams[name]), default=0)
    layers = _with_bends(upstreams, layer)
    place = {name: float(at) for names in layers.order for at, name in enumerate(names)}
    for sweep in range(_SWEEPS):
        _sort(layers, place, forwards=sweep % 2 == 0)
    row = _rows(layers, upstreams)
    return Layout({name: at for at, names in enumerate(layers.order) for name in names}, row, layers.lines)


def _with_bends(upstreams: Mapping[str, Sequence[str]], layer: Mapping[str, int]) -> _Layers:
    layers = _Layers([[] for _ in range(max(layer.values(), default=-1) + 1)], {}, {}, [])
    for name, at in layer.items():
        layers.order[at].append(name)
    bends = sum(layer[name] - layer[up] - 1 for name, ups in upstreams.items() for up in ups)
    for name, ups in upstreams.items():
        for up in ups:
            passed = range(layer[up] + 1, layer[name]) if bends <= _BENDS_MAX else range(0)
            line = (up, *(f"{up}\0{name}\0{at}" for at in passed), name)
            for at, bend in zip(passed, line[1:-1], strict=True):
                layers.order[at].append(bend)
            for one, other in pairwise(line):
                layers.below.setdefault(one, []).append(other)
                layers.above.setdefault(other, []).append(one)
            layers.lines.append(line)
    return layers


def _sort(layers: _Layers, place: dict[str, float], *, forwards: bool) -> None:
    """Order each layer by the mean place of its neighbours in the layer before it; ``place`` is kept in step."""
    beside = layers.above if forwards else layers.below
    for names in layers.order if forwards else reversed(layers.order):
        wanted = {name: _mean([place[other] for other in beside.get(name, ())], place[name]) for name in names}
        names.sort(key=wanted.__getitem__)
        place.update((name, float(at)) for at, name in enumerate(names))


def _rows(layers: _Layers, upstreams: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the row of each place: in the order that there is, as near to its neighbours as the others allow."""
    room = {names_at: _offsets(names, upstreams) for names_at, names in enumerate(layers.order)}
    row = {name: at for place, names in enumerate(layers.order) for name, at in zip(names, room[place], strict=True)}
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        beside = layers.above if forwards else layers.below
        places = range(len(layers.order)) if forwards else range(len(layers.order) - 1, -1, -1)
        for at in places:
            names = layers.order[at]
            wanted = [_mean([row[other] for other in beside.get(name, ())], row[name]) for name in names]
            row.update(zip(names, _apart(wanted, room[at]), strict=True))
    top = min(row.values(), default=0.0)
    return {name: at - top for name, at in row.items()}


def _offsets(names: Sequence[str], upstreams: Mapping[str, Sequence[str]]) -> list[float]:
    """Return how far each place is from the first of its layer at least; a passing line needs less than a box."""
    found: list[float] = []
    at = 0.0
    for index, name in enumerate(names):
        half = 0.5 if name in upstreams else _LINE_ROOM / 2
        at += half if index else 0.0
        found.append(at)
        at += half
    return found


def _apart(wanted: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Return the places nearest to the wanted ones that keep the order and the room: neighbours that want too much
    move as one (the pool-adjacent-violators way of least squares)."""
    blocks: list[tuple[float, int]] = []  # the mean of what is wanted, and how many share it
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, others = blocks.pop()
            mean = (mean * count + other * others) / (count + others)
            count += others
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
