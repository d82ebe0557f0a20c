"""Selectors: a few words that stand for many assets (``+orders``, ``label:team=finance,2+daily``).

Called by the core for evaluate, sync, suspend and resume, by ``parse_command`` for their grammar, and by the CLI. It
is pure and knows nothing of sessions: a graph and texts in, names out.

A selector is one or more terms joined by commas, all of which must hold (AND); several selectors are alternatives
(OR). A term is a name, ``label:KEY`` or ``label:KEY=VALUE``; ``+`` before it adds everything above, ``N+`` at most N
steps up, ``+`` and ``+N`` behind it the same downwards. Each term is expanded by itself, before the commas apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from setpoint.contracts.problem import Problem
from setpoint.contracts.resource.graph import downstreams
from setpoint.contracts.resource.nearest import nearest_hint

SELECTOR_CHARS_MAX: Final = 1024
_SHOWN_CHARS_MAX: Final = 128
_LABEL: Final = "label:"
_UP: Final = re.compile(r"([0-9]{0,9})\+(?=.)")
_DOWN: Final = re.compile(r"(?<=.)\+([0-9]{0,9})$")


@dataclass(frozen=True, slots=True)
class Graph:
    """What selectors choose from: for every asset its direct upstreams, its direct downstreams and its labels."""

    upstreams: Mapping[str, Sequence[str]]
    downstreams: Mapping[str, Sequence[str]]
    labels: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Term:
    """One term: a ``name`` or a label (``value`` None: any value). ``up`` and ``down`` are steps, None means all."""

    name: str = ""
    key: str = ""
    value: str | None = None
    up: int | None = 0
    down: int | None = 0


def graph_of(upstreams: Mapping[str, Sequence[str]], labels: Mapping[str, Mapping[str, str]]) -> Graph:
    """Return the graph of these upstreams; names that are no asset themselves are left out."""
    known = {name: tuple(above for above in found if above in upstreams) for name, found in upstreams.items()}
    return Graph(known, downstreams(known), labels)


def parse(text: str) -> tuple[Term, ...]:
    """Read one selector. Raises Problem validation-failed when it is none."""
    if len(text) > SELECTOR_CHARS_MAX:
        raise Problem("validation-failed", f"a selector has at most {SELECTOR_CHARS_MAX} characters")
    return tuple(_term(text, part.strip()) for part in text.split(","))


def select(selectors: Iterable[str], exclude: Iterable[str], graph: Graph) -> tuple[str, ...]:
    """Return the assets that a selector chooses and no ``exclude`` does, each after all that is above it.

    Without selectors everything is chosen. Raises Problem: validation-failed for what is no selector,
    unknown-reference for a name or label that no asset has (in ``exclude`` as well).
    """
    wanted = [parse(text) for text in selectors]
    unwanted = [parse(text) for text in exclude]
    chosen = _any_of(wanted, graph) if wanted else set(graph.upstreams)
    return in_order(chosen - _any_of(unwanted, graph), graph)


def exact_names(selectors: Iterable[str]) -> frozenset[str]:
    """Return the assets that are named outright: by a selector that is one name and nothing else."""
    found = (parse(text) for text in selectors)
    return frozenset(terms[0].name for terms in found if len(terms) == 1 and terms[0] == Term(name=terms[0].name))


def in_order(names: Iterable[str], graph: Graph) -> tuple[str, ...]:
    """Return names so that each follows all that is above it, otherwise by name. Costs what lies above them."""
    wanted, order, seen = set(names), [], set[str]()
    if len(wanted) < 2:
        return tuple(wanted)
    for name in sorted(wanted):
        stack = [(name, False)]
        while stack:
            current, is_left = stack.pop()
            if is_left:
                order.append(current)
            elif current not in seen:
                seen.add(current)
                stack.append((current, True))
                stack += ((above, False) for above in sorted(graph.upstreams[current], reverse=True))
    return tuple(name for name in order if name in wanted)


def _term(selector: str, text: str) -> Term:
    up = _UP.match(text)
    rest = text[up.end() :] if up else text
    down = _DOWN.search(rest)
    core = rest[: down.start()] if down else rest
    is_label = core.startswith(_LABEL)
    key, has_value, value = core.removeprefix(_LABEL).partition("=")
    if not core or (is_label and not key) or (not is_label and "+" in core):
        shown = selector[:_SHOWN_CHARS_MAX]
        raise Problem("validation-failed", f"{shown!r} is no selector; these are: name, +name, name+2, label:key=value")
    steps_up, steps_down = _steps(up), _steps(down)
    if is_label:
        return Term(key=key, value=value if has_value else None, up=steps_up, down=steps_down)
    return Term(name=core, up=steps_up, down=steps_down)


def _steps(found: re.Match[str] | None) -> int | None:
    if found is None:
        return 0
    return int(found[1]) if found[1] else None


def _any_of(selectors: Sequence[tuple[Term, ...]], graph: Graph) -> set[str]:
    found: set[str] = set()
    for terms in selectors:
        found |= set.intersection(*(_expanded(term, graph) for term in terms))
    return found


def _expanded(term: Term, graph: Graph) -> set[str]:
    """Return what a term stands for. Up and down are walked apart, each from all roots at once, level by level."""
    roots = _roots(term, graph)
    return roots | _reach(roots, term.up, graph.upstreams.__getitem__) | _reach(roots, term.down, _below(graph))


def _below(graph: Graph) -> Callable[[str], Sequence[str]]:
    return lambda name: graph.downstreams.get(name, ())


def _reach(roots: set[str], steps: int | None, following: Callable[[str], Sequence[str]]) -> set[str]:
    seen, frontier = set(roots), roots
    while frontier and steps != 0:
        frontier = {name for source in frontier for name in following(source)} - seen
        seen |= frontier
        steps = None if steps is None else steps - 1
    return seen


def _roots(term: Term, graph: Graph) -> set[str]:
    if term.name:
        if term.name not in graph.upstreams:
            hint = nearest_hint(term.name, tuple(graph.upstreams))
            said = f"there is no asset {term.name[:_SHOWN_CHARS_MAX]!r}"
            raise Problem("unknown-reference", said + (f"; {hint}" if hint else ""))
        return {term.name}
    holders = {name: labels[term.key] for name, labels in graph.labels.items() if term.key in labels}
    found = {name for name, value in holders.items() if term.value in (None, value)}
    if found:
        return found
    if holders:
        hint = nearest_hint(term.value or "", frozenset(holders.values()))
        said = f"no asset has the label {term.key[:_SHOWN_CHARS_MAX]!r} with the value {(term.value or '')[:128]!r}"
    else:
        hint = nearest_hint(term.key, frozenset(key for labels in graph.labels.values() for key in labels))
        said = f"no asset has the label {term.key[:_SHOWN_CHARS_MAX]!r}"
    raise Problem("unknown-reference", said + (f"; {hint}" if hint else ""))
