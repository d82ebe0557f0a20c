"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

from tests.house import tree

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def test_no_file_is_longer_than_the_limit() -> None:
    long = [
        f"{tree.place(path)}: {lines} lines"
        for path in tree.source()
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_no_function_is_longer_than_the_limit() -> None:
    long = [
        f"{tree.place(path, node.lineno)}: {node.name} has {lines} lines"
        for path in tree.source()
        for node in tree.functions(tree.syntax(path))
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)
