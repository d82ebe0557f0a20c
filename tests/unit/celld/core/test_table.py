"""The persistent map and the persistent sorted set: old versions stay, order follows from the content."""

from __future__ import annotations

import pytest

from celld.core.table import Agenda, Table


def test_a_changed_map_leaves_the_old_one_as_it_was() -> None:
    old = Table([("b", 2), ("a", 1)])
    new = old.with_("c", 3).with_("a", 9).without("b")
    assert (list(old), list(old.values()), len(old)) == (["a", "b"], [1, 2], 2)
    assert (list(new), list(new.values()), len(new)) == (["a", "c"], [9, 3], 2)
    assert new.get("b") is None
    assert "b" not in new
    assert new.without("zz") is new


def test_a_map_tells_what_changed() -> None:
    shared = object()
    old = Table([("same", shared), ("other", object()), ("gone", object())])
    new = old.without("gone").with_("other", object()).with_("new", object())
    assert new.changed_since(old) == ["gone", "new", "other"]


def test_an_agenda_is_sorted_and_finds_what_comes_after() -> None:
    agenda = Agenda([(5, "b"), (5, "a"), (1, "z")])
    assert list(agenda) == [(1, "z"), (5, "a"), (5, "b")]
    assert agenda.first() == (1, "z")
    assert agenda.next_after(1) == 5
    assert agenda.next_after(0) == 1
    assert agenda.next_after(5) is None
    assert Agenda().first() is None
    assert Agenda().next_after(0) is None


def test_removing_what_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        Agenda([(1, "a")]).remove((2, "a"))
    with pytest.raises(KeyError):
        Agenda().remove((2, "a"))
