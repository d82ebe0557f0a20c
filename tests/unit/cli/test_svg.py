"""The picture of a graph: every asset with its name and state, nothing on top of anything, and no text that acts."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setpoint.cli.layers import lay_out
from setpoint.cli.svg import svg

NS = "{http://www.w3.org/2000/svg}"
Graph = dict[str, list[str]]


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{NS}text")]


def boxes(picture: str) -> list[tuple[float, float, float, float]]:
    """Return left, top, right and bottom of each asset's box."""
    found = []
    for box in ElementTree.fromstring(picture).iter(f"{NS}rect"):
        if box.get("rx"):
            x, y, wide, high = (float(box.get(key) or 0) for key in ("x", "y", "width", "height"))
            found.append((x, y, x + wide, y + high))
    return found


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    random = Random(draw(st.integers(0, 10**6)))
    names = [f"a{i}" for i in range(draw(st.integers(0, 40)))]
    return {name: random.sample(names[:i], min(i, random.choice((0, 1, 1, 2, 3)))) for i, name in enumerate(names)}


def test_each_asset_is_there_with_its_name_and_the_word_for_its_state() -> None:
    picture = svg({"orders": [], "daily": ["orders"], "x": []}, {"orders": "ready", "daily": "not_evaluated"})
    assert texts(picture) == ["orders", "\u2713 ready", "daily", "\u2013 not evaluated", "x"]
    assert len(list(ElementTree.fromstring(picture).iter(f"{NS}path"))) == 2  # one line, and the tip of lines
    assert "2 dependencies" not in picture and "3 assets, 1 dependencies" in picture


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_boxes_and_lines_do_not_lie_on_boxes_and_all_flows_to_the_right(graph: Graph) -> None:
    picture = svg(graph, dict.fromkeys(graph, "ready"))
    found = boxes(picture)
    assert len(found) == len(graph)
    for i, (left, top, right, bottom) in enumerate(found):
        for other in found[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    layout = lay_out(graph)
    for line in layout.lines:
        assert [layout.layer[place] for place in line] == list(range(layout.layer[line[0]], layout.layer[line[-1]] + 1))
    for layer in set(layout.layer.values()):
        rows = sorted(
            (layout.row[place], 0.5 if place in graph else 0.2) for place, at in layout.layer.items() if at == layer
        )
        for (row, half), (following, other_half) in pairwise(rows):
            assert following - row >= half + other_half - 1e-9


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_the_same_graph_is_the_same_picture(graph: Graph) -> None:
    assert svg(graph, {}) == svg(dict(graph), {})


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a&b", "\"'><image href=x>", "\x1b[31m", "\u202e"])
def test_no_text_is_more_than_text(hostile: str) -> None:
    picture = svg({hostile: []}, {hostile: hostile})
    root = ElementTree.fromstring(picture)
    assert {element.tag.removeprefix(NS) for element in root.iter()} <= {
        *("svg", "title", "defs", "marker", "path", "rect", "g", "text")
    }
    assert "\x1b" not in picture and "\u202e" not in picture


def test_a_long_name_is_shortened_and_said_in_full_by_its_title() -> None:
    name = "a_very_long_name_of_an_asset_that_nobody_would_write_but_somebody_generates"
    picture = svg({name: []}, {})
    (shown,) = texts(picture)
    assert len(shown) == 34
    assert f"<title>{name}</title>" in picture


def test_nothing_is_an_empty_picture() -> None:
    assert texts(svg({}, {})) == []


def test_a_long_chain_with_lines_over_all_of_it_is_no_recursion_and_has_a_bound() -> None:
    chain: Graph = {f"n{i}": [f"n{i - 1}", "n0"] if i > 1 else [f"n{i - 1}"] * (i > 0) for i in range(1000)}
    assert len(boxes(svg(chain, {}))) == 1000
