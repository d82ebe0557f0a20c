"""Which assets of a session a command means. Called when it is accepted, and by the fold for more than an event names.

What it costs follows from what the selectors reach, not from how many assets there are; labels look at all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from celld.core import schedule
from celld.core.state import Asset, State
from setpoint.contracts.command import Evaluate, Resume, Suspend, Sync
from setpoint.contracts.resource.select import Graph, exact_names, select

Naming = Evaluate | Sync | Suspend | Resume
"""The commands that name assets."""


def meant(state: State, body: Naming) -> tuple[str, ...]:
    """Return the assets that a command is about, upstreams first. Raises Problem as ``select`` does.

    A sync is about those that have one (with one of its stages) and about those that it names outright.
    """
    names = chosen(state, body.select, body.exclude)
    if not isinstance(body, Sync):
        return names
    outright = exact_names(body.select)
    return tuple(name for name in names if name in outright or syncs(state.assets[name], body.stages))


def syncs(asset: Asset, stages: Sequence[str]) -> bool:
    """Tell whether a manual sync of these stages (none: all) would run anything."""
    pair = schedule.direct_pair(asset)
    if pair is None or pair[1].sync is None:
        return False
    return not stages or any(stage in stages for stage, _ in pair[1].sync.stages())


def chosen(state: State, selectors: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
    """Return the assets meant, upstreams first; without selectors all of them. Raises Problem as ``select`` does."""
    graph = Graph(_Upstreams(state), state.downstreams, _Labels(state))
    return select(selectors, exclude, graph)


class _Upstreams(Mapping[str, Sequence[str]]):
    """The upstreams of every asset, looked up as they are asked for: a command that names one costs one."""

    def __init__(self, state: State) -> None:
        self._assets = state.assets

    def __getitem__(self, name: str) -> Sequence[str]:
        return self._assets[name].spec.upstreams

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._assets

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)


class _Labels(Mapping[str, Mapping[str, str]]):
    """The labels of every asset, likewise."""

    def __init__(self, state: State) -> None:
        self._assets = state.assets

    def __getitem__(self, name: str) -> Mapping[str, str]:
        return self._assets[name].spec.labels

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)
