"""Selectors against an oracle that is too simple to be wrong: every pair of assets, every way between them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from setpoint.contracts.resource.select import graph_of, select

NAMES = [f"n{i}" for i in range(8)]
TERMS = st.tuples(
    st.sampled_from(["", "+", "1+", "2+"]),
    st.sampled_from([*NAMES, "label:k", "label:k=x", "label:k=y"]),
    st.sampled_from(["", "+", "+1", "+2"]),
)
SELECTORS = st.lists(st.lists(TERMS, min_size=1, max_size=3), max_size=3)


@st.composite
def graphs(draw: Any) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    order = draw(st.permutations(NAMES))
    upstreams = {
        name: draw(st.lists(st.sampled_from(order[:i]), unique=True, max_size=3)) if i else []
        for i, name in enumerate(order)
    }
    labels = {name: draw(st.sampled_from([{}, {"k": "x"}, {"k": "y"}])) for name in NAMES}
    labels["n0"], labels["n1"] = {"k": "x"}, {"k": "y"}
    return upstreams, labels


def steps(upstreams: dict[str, list[str]], low: str, high: str) -> int | None:
    """Return the length of the shortest way up from ``low`` to ``high``, by trying all of them."""
    if low == high:
        return 0
    ways = [way for above in upstreams[low] if (way := steps(upstreams, above, high)) is not None]
    return min(ways) + 1 if ways else None


def holds(term: tuple[str, str, str], name: str, upstreams: Any, labels: Any) -> bool:
    up, core, down = term
    key, _, value = core.removeprefix("label:").partition("=")
    roots = [n for n in NAMES if labels[n].get(key) in ([value] if value else ["x", "y"])] if ":" in core else [core]
    most_up, most_down = (0 if not t else int(t.strip("+") or 99) for t in (up, down))
    for root in roots:
        above, below = steps(upstreams, root, name), steps(upstreams, name, root)
        if (above is not None and above <= most_up) or (below is not None and below <= most_down):
            return True
    return False


@given(graphs(), SELECTORS, SELECTORS)
def test_it_chooses_what_the_oracle_chooses_in_an_order_that_follows_the_graph(
    graph: Any, wanted: list[list[tuple[str, str, str]]], unwanted: list[list[tuple[str, str, str]]]
) -> None:
    upstreams, labels = graph

    def chosen(selectors: list[list[tuple[str, str, str]]], name: str) -> bool:
        return any(all(holds(term, name, upstreams, labels) for term in terms) for terms in selectors)

    found = select(
        [",".join(map("".join, terms)) for terms in wanted],
        [",".join(map("".join, terms)) for terms in unwanted],
        graph_of(upstreams, labels),
    )
    expected = {name for name in NAMES if (not wanted or chosen(wanted, name)) and not chosen(unwanted, name)}
    assert len(found) == len(set(found))
    assert set(found) == expected
    for i, name in enumerate(found):
        assert not [later for later in found[i + 1 :] if steps(upstreams, name, later) is not None]
