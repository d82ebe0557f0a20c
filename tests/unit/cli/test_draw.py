"""Graphs as text: a tree to read, DOT and Mermaid that other tools read."""

from __future__ import annotations

from setpoint.cli.draw import ascii_tree, dot, mermaid

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"], "alone": []}


def test_a_tree_draws_each_asset_in_full_once() -> None:
    assert ascii_tree(DIAMOND, {"a": "ready", "e": "drifted"}).splitlines() == [
        "a (ready)",
        "|- b",
        "|  `- d",
        "|     `- e (drifted)",
        "`- c",
        "   `- d ...",
        "alone",
    ]


def test_dot_has_every_node_and_edge() -> None:
    text = dot(DIAMOND, {"a": "ready"})
    assert text.startswith("digraph assets {")
    assert text.endswith("}")
    assert '"a" [label="a (ready)"];' in text
    assert [line.strip() for line in text.splitlines() if "->" in line] == [
        '"a" -> "b";', '"a" -> "c";', '"b" -> "d";', '"c" -> "d";', '"d" -> "e";',
    ]  # fmt: skip


def test_mermaid_names_nodes_by_number() -> None:
    assert mermaid({"end": [], "x.y": ["end"]}, {}).splitlines() == [
        "flowchart LR",
        '  n0["end"]',
        '  n1["x.y"]',
        "  n0 --> n1",
    ]


def test_a_long_chain_is_no_recursion() -> None:
    chain = {f"n{i:05}": [f"n{i - 1:05}"] if i else [] for i in range(3000)}
    assert len(ascii_tree(chain, {}).splitlines()) == 3000


def test_an_empty_graph_is_drawn_empty() -> None:
    assert ascii_tree({}, {}) == ""
    assert mermaid({}, {}) == "flowchart LR"
