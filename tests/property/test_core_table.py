"""The persistent collections of the core against plain dictionaries and sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celld.core.table import Agenda, Table

NAMES = st.sampled_from([f"n{i}" for i in range(40)])
ENTRIES = st.tuples(st.integers(0, 30), NAMES)


@given(st.lists(st.tuples(st.booleans(), NAMES, st.integers())))
def test_a_table_is_a_map(steps: list[tuple[bool, str, int]]) -> None:
    table: Table[int] = Table()
    plain: dict[str, int] = {}
    for adds, key, value in steps:
        if adds:
            table, plain[key] = table.with_(key, value), value
        else:
            table = table.without(key)
            plain.pop(key, None)
        assert len(table) == len(plain)
    assert list(table) == sorted(plain)
    assert {key: table[key] for key in table} == plain
    assert table == Table(plain.items())


@given(st.lists(st.tuples(st.booleans(), ENTRIES), max_size=400), st.integers(-1, 31))
def test_an_agenda_is_a_sorted_set(steps: list[tuple[bool, tuple[int, str]]], at: int) -> None:
    agenda, plain = Agenda(), set[tuple[int, str]]()
    for adds, entry in steps:
        if adds and entry not in plain:
            agenda = agenda.add(entry)
            plain.add(entry)
        elif not adds and entry in plain:
            agenda = agenda.remove(entry)
            plain.remove(entry)
    assert list(agenda) == sorted(plain)
    assert agenda == Agenda(plain)
    assert agenda.first() == min(plain, default=None)
    assert agenda.next_after(at) == min((entry[0] for entry in plain if entry[0] > at), default=None)
