"""The graph of upstreams: order, reverse, cycles, and chains too long for recursion."""

from __future__ import annotations

import pytest

from setpoint.contracts.resource.delta import diff
from setpoint.contracts.resource.graph import cycles, downstreams, topological_order, upstreams_of
from setpoint.contracts.resource.model import CompiledAsset, CompiledSet

DIAMOND = {"x": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}


def test_the_order_follows_upstreams_then_names() -> None:
    assert topological_order(DIAMOND) == ("a", "b", "c", "x")
    assert topological_order({"b": [], "a": [], "c": ["b"]}) == ("a", "b", "c")


def test_the_reverse_is_sorted_and_ignores_foreign_names() -> None:
    assert downstreams(DIAMOND) == {"a": ("b", "c"), "b": ("x",), "c": ("x",), "x": ()}
    assert downstreams({"a": ["gone", "b", "b"], "b": []}) == {"a": (), "b": ("a",)}


def test_cycles_name_only_the_nodes_on_them() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": [], "below": ["a"], "self": ["self"]}
    assert cycles(graph) == (("a", "b", "c"), ("self",))
    assert cycles(DIAMOND) == ()


def test_a_knot_is_told_by_its_shortest_walk() -> None:
    assert cycles({"a": ["b", "d"], "b": ["c"], "c": ["a"], "d": ["a"]}) == (("a", "d"),)


def test_a_cycle_has_no_order() -> None:
    with pytest.raises(ValueError, match="cycle"):
        topological_order({"a": ["b"], "b": ["a"]})


def test_a_chain_of_10_000_does_not_recurse() -> None:
    chain = {f"n{n:05d}": [f"n{n - 1:05d}"] if n else [] for n in range(10_000)}
    assert topological_order(chain) == tuple(sorted(chain))
    assert cycles(chain) == ()
    chain["n00000"] = ["n09999"]
    assert len(cycles(chain)[0]) == 10_000


def test_the_difference_goes_by_digest() -> None:
    def made(**digests: str) -> CompiledSet:
        return CompiledSet({name: CompiledAsset(name, name, digest=digest) for name, digest in digests.items()})

    delta = diff(made(a="1", b="1", c="1"), made(b="2", c="1", d="1"))
    assert (delta.added, delta.changed, delta.removed) == (("d",), ("b",), ("a",))
    assert diff(None, made(b="1", a="1")).added == ("a", "b")
    assert diff(made(a="1"), made(a="1")).empty


def test_upstreams_of_a_set() -> None:
    compiled = CompiledSet({"a": CompiledAsset("a", "a"), "b": CompiledAsset("b", "b", upstreams=("a",))})
    assert upstreams_of(compiled) == {"a": (), "b": ("a",)}
