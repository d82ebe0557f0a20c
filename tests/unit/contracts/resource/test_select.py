"""Selectors: what each form stands for, what is refused and how."""

from __future__ import annotations

import pytest

from setpoint.contracts.problem import Problem
from setpoint.contracts.resource.select import Graph, Term, exact_names, graph_of, parse, select

CHAIN = graph_of(
    {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["d"], "side": ["b"], "alone": []},
    {"a": {"team": "finance"}, "c": {"team": "sales", "tier": ""}, "alone": {"team": "finance"}},
)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("c", "c"),
        ("+c", "a b c"),
        ("c+", "c d e"),
        ("+c+", "a b c d e"),
        ("1+c", "b c"),
        ("c+1", "c d"),
        ("1+c+1", "b c d"),
        ("0+c", "c"),
        ("99+c", "a b c"),
        ("label:team", "a alone c"),
        ("label:team=finance", "a alone"),
        ("label:tier=", "c"),
        ("label:team=sales+", "c d e"),
        ("+label:team=sales", "a b c"),
        ("1+label:team=sales+1", "b c d"),
        ("+d,b+", "b c d"),
        ("label:team,+d", "a c"),
        (" a+ , +c ", "a b c"),
        ("a,b", ""),
    ],
)
def test_each_form_stands_for_these(selector: str, names: str) -> None:
    assert select([selector], [], CHAIN) == tuple(names.split())


def test_several_selectors_are_alternatives() -> None:
    assert set(select(["a", "e", "label:team=sales"], [], CHAIN)) == {"a", "c", "e"}


def test_without_a_selector_everything_is_chosen_but_what_is_excluded() -> None:
    assert set(select([], ["+c", "alone"], CHAIN)) == {"d", "e", "side"}


def test_exclude_speaks_the_same_language() -> None:
    assert select(["+e"], ["label:team", "1+e"], CHAIN) == ("b",)


def test_what_is_chosen_follows_all_that_is_above_it() -> None:
    graph = graph_of({"a": ["z"], "m": ["a"], "z": [], "b": []}, {})
    assert select([], [], graph) == ("z", "a", "b", "m")
    assert select(["m", "z"], [], graph) == ("z", "m")


def test_the_order_holds_through_assets_that_are_not_chosen() -> None:
    graph = graph_of({"a": ["m"], "m": ["z"], "z": []}, {})
    assert select(["a", "z"], [], graph) == ("z", "a")


def test_two_roots_of_one_label_do_not_hide_each_others_way() -> None:
    """With one set of visited assets for all roots and both directions ``z`` is missed."""
    graph = graph_of({"r2": [], "n": ["r2"], "r1": ["n"], "z": ["n"]}, {"r1": {"t": "1"}, "r2": {"t": "1"}})
    assert set(select(["+label:t+"], [], graph)) == {"r2", "n", "r1", "z"}


def test_a_way_from_one_root_does_not_use_up_the_steps_of_another() -> None:
    """With one set of visited assets, the long way from ``d2`` reaches ``c`` and ``d`` first, and ``b`` is missed."""
    graph = graph_of({"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "d2": ["d"]}, {"d": {"t": "1"}, "d2": {"t": "1"}})
    assert set(select(["2+label:t"], [], graph)) == {"b", "c", "d", "d2"}


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("greting", "there is no asset 'greting'; did you mean 'greeting'?"),
        ("+greting", "there is no asset 'greting'; did you mean 'greeting'?"),
        ("label:taem", "no asset has the label 'taem'; did you mean 'team'?"),
        ("label:team=finnace", "no asset has the label 'team' with the value 'finnace'; did you mean 'finance'?"),
    ],
)
def test_what_matches_nothing_is_answered_with_the_nearest(selector: str, said: str) -> None:
    graph = graph_of({"greeting": [], "farewell": ["greeting"]}, {"greeting": {"team": "finance"}})
    for selectors, exclude in (([selector], []), (["farewell"], [selector]), ([f"farewell,{selector}"], [])):
        with pytest.raises(Problem) as caught:
            select(selectors, exclude, graph)
        assert (caught.value.code, caught.value.detail) == ("unknown-reference", said)


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("zzz", "there is no asset 'zzz'"),
        ("label:zzz", "no asset has the label 'zzz'"),
        ("label:n1=zzz", "no asset has the label 'n1' with the value 'zzz'"),
    ],
)
def test_among_many_that_are_all_unlike_it_nothing_more_is_said(selector: str, said: str) -> None:
    names = [f"n{n}" for n in range(20)]
    labels = {name: {f"n{n}": f"v{m}" for n in range(20)} for m, name in enumerate(names)}
    with pytest.raises(Problem) as caught:
        select([selector], [], graph_of({name: [] for name in names}, labels))
    assert caught.value.detail == said


@pytest.mark.parametrize(
    "text", ["", "+", "++", "a,", ",a", "label:", "+label:", "label:=x", "a+b+c", "1+", "+1+a", " "]
)
def test_what_is_no_selector_is_refused(text: str) -> None:
    if text == "1+":
        assert parse(text) == (Term(name="1", down=None),)
        return
    with pytest.raises(Problem) as caught:
        parse(text)
    assert caught.value.code == "validation-failed"


def test_a_name_of_digits_can_be_selected() -> None:
    assert parse("2+2") == (Term(name="2", up=2),)
    assert parse("2+2+2") == (Term(name="2", up=2, down=2),)
    assert parse("+2") == (Term(name="2", up=None),)


def test_a_selector_is_bounded() -> None:
    with pytest.raises(Problem, match="at most 1024"):
        parse("a" * 1025)


def test_named_outright_is_a_name_and_nothing_else() -> None:
    assert exact_names(["a", "+b", "c,d", "label:e", " f "]) == {"a", "f"}


def test_a_long_chain_is_no_recursion() -> None:
    names = [f"n{i:05}" for i in range(10_000)]
    graph = graph_of({name: names[i - 1 : i] if i else [] for i, name in enumerate(names)}, {})
    assert select([f"+{names[-1]}"], [], graph) == tuple(names)


def test_a_name_costs_what_it_reaches() -> None:
    class Counting(dict[str, list[str]]):
        asked = 0

        def __getitem__(self, name: str) -> list[str]:
            Counting.asked += 1
            return super().__getitem__(name)

    upstreams = Counting({f"n{i}": [] for i in range(1000)} | {"x": ["n1"]})
    assert select(["1+x"], [], Graph(upstreams, {}, {})) == ("n1", "x")
    assert Counting.asked < 10
