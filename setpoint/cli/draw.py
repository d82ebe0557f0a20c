"""A graph of assets as text: a tree for the terminal, DOT and Mermaid for other tools. Pure; called by ``graph``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from setpoint.contracts.resource.graph import downstreams, topological_order

Upstreams = Mapping[str, Sequence[str]]
States = Mapping[str, str]
"""What each asset is, shown beside its name; an asset that is not in it is shown without."""


def ascii_tree(upstreams: Upstreams, states: States) -> str:
    """Return a tree from the sources down. An asset with several upstreams is drawn in full below the first one met."""
    below = downstreams(upstreams)
    seen: set[str] = set()
    lines: list[str] = []
    roots = [name for name in topological_order(upstreams) if not upstreams[name]]
    for root in roots:
        stack = [(root, "", "")]
        while stack:
            name, lead, branch = stack.pop()
            again = name in seen and below[name]
            seen.add(name)
            lines.append(f"{lead}{branch}{name}{_state(states, name)}{' ...' if again else ''}")
            if again:
                continue
            deeper = lead + {"": "", "|- ": "|  ", "`- ": "   "}[branch]
            last = len(below[name]) - 1
            stack += [(child, deeper, "`- " if place == last else "|- ") for place, child in enumerate(below[name])][
                ::-1
            ]
    return "\n".join(lines)


def dot(upstreams: Upstreams, states: States) -> str:
    """Return the graph in the DOT language, data flowing from left to right."""
    lines = ["digraph assets {", "  rankdir=LR;", "  node [shape=box];"]
    for name in topological_order(upstreams):
        lines.append(f'  "{name}" [label="{name}{_state(states, name)}"];')
        lines += [f'  "{above}" -> "{name}";' for above in upstreams[name]]
    return "\n".join([*lines, "}"])


def mermaid(upstreams: Upstreams, states: States) -> str:
    """Return the graph as a Mermaid flowchart; nodes are numbered, because names may hold what Mermaid reads."""
    order = topological_order(upstreams)
    ids = {name: f"n{number}" for number, name in enumerate(order)}
    lines = ["flowchart LR"]
    for name in order:
        lines.append(f'  {ids[name]}["{name}{_state(states, name)}"]')
        lines += [f"  {ids[above]} --> {ids[name]}" for above in upstreams[name]]
    return "\n".join(lines)


def _state(states: States, name: str) -> str:
    return f" ({states[name]})" if name in states else ""
