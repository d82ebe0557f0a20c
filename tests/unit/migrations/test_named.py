"""Named SQL blocks: what a file may look like, and what is refused at import."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrations import named


def test_blocks_come_in_order_without_their_comments_and_semicolon() -> None:
    one = "-- A file.\n\n-- name: one\n-- Because.\n-- And so.\nSELECT 1;\n\n"
    text = one + "-- name: two\n-- Why not.\nSELECT $1\n  -- inside\n"
    blocks = named.parse(text)
    assert list(blocks.items()) == [("one", "SELECT 1"), ("two", "SELECT $1\n  -- inside")]


def test_blocks_cannot_be_changed() -> None:
    blocks = named.parse("-- name: one\n-- Because.\nSELECT 1")
    with pytest.raises(TypeError):
        blocks["one"] = "SELECT 2"  # type: ignore[index]  # what the test is about


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("SELECT 1;\n-- name: one\n-- Why.\nSELECT 2", "before the first"),
        ("-- name: one\nSELECT 1", "no line that says why"),
        ("-- name: one\n--\nSELECT 1", "no line that says why"),
        ("-- name: one\n-- Why.\n", "is empty"),
        ("-- name: One\n-- Why.\nSELECT 1", "no new lower-case word"),
        ("-- name: one\n-- Why.\nSELECT 1\n-- name: one\n-- Why.\nSELECT 2", "no new lower-case word"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        named.parse(text, "queries.sql")
    assert str(caught.value).startswith("queries.sql:")


def test_a_module_finds_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "store.sql").write_text("-- name: one\n-- Because.\nSELECT 1\n")
    assert dict(named.beside(str(tmp_path / "store.py"))) == {"one": "SELECT 1"}


def test_an_empty_file_has_no_blocks() -> None:
    assert dict(named.parse("")) == {}
