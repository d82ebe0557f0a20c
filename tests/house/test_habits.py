"""The habits of the house that a linter can see. Each failure names file and line."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.house import tree

SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|(CREATE|ALTER|DROP)\s+(TABLE|ROLE|DATABASE|INDEX|"
    r"FUNCTION|SCHEMA|TYPE|POLICY)\s|GRANT\s+\w+\s|REVOKE\s+\w+\s|TRUNCATE\s|LISTEN\s|NOTIFY\s|WITH\s+\w+\s+AS\s*\()"
)
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error")) + r")\b")
UNEXPLAINED = re.compile(r"#\s*(noqa(:[A-Z0-9, ]+)?|type:\s*ignore(\[[\w, -]+\])?)\s*$")
EXPLAINED = re.compile(r"#\s*noqa: BLE001 - \w+")
# Spelled in pieces, because this file is text of the repository, too.
FOREIGN = re.compile(
    "|".join(
        (
            "/wor" + "k/(main|shared)",
            "/tm" + "p/briefs",
            "/ro" + "ot/",
            "/opt/py" + "pi",
            r"py" + r"pi\.org",
            "pythonhost" + "ed",
        )
    )
)
LOCK = "requirements.lock"


def bad_lines(paths: list[Path], judge: Callable[[ast.AST], bool]) -> str:
    """Return ``file:line`` of every node that ``judge`` condemns, one a line."""
    return "\n".join(
        tree.place(path, getattr(node, "lineno", 1))
        for path in paths
        for node in ast.walk(tree.syntax(path))
        if judge(node)
    )


def test_every_module_says_its_duty() -> None:
    silent = [tree.place(path) for path in (*tree.source(), *tree.tests()) if not ast.get_docstring(tree.syntax(path))]
    assert not silent, "\n".join(silent)


def test_an_init_holds_nothing_but_its_docstring() -> None:
    full = [
        tree.place(path) for path in tree.source() if path.name == "__init__.py" and len(tree.syntax(path).body) > 1
    ]
    assert not full, "\n".join(full)


def test_unit_and_property_tests_mock_nothing() -> None:
    def mocks(node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            return any("mock" in alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            return "mock" in (node.module or "") or any(alias.name == "mock" for alias in node.names)
        return isinstance(node, ast.arg) and node.arg in ("mocker", "monkeypatch")

    assert not (bad := bad_lines(tree.tests("unit", "property"), mocks)), bad


def test_no_test_sleeps() -> None:
    def sleeps(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        nothing = [isinstance(arg, ast.Constant) and arg.value == 0 for arg in node.args]
        return name == "sleep" and not all(nothing)

    assert not (bad := bad_lines(tree.tests(), sleeps)), bad


def test_no_python_string_is_sql() -> None:
    def speaks_sql(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(SQL.match(node.value))

    assert not (bad := bad_lines(tree.source(), speaks_sql)), bad


def test_only_entry_points_catch_everything() -> None:
    """Elsewhere the reason has to stand beside it, for a reviewer to judge."""

    def catches_all(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {"Exception"}
        passes_on = isinstance(node.body[-1], ast.Raise)  # as it came, or in the words of this room
        return bool(names & {"Exception", "BaseException"}) and not passes_on

    inner = [path for path in tree.source() if str(path.relative_to(tree.ROOT)) not in tree.entry_points()]
    bad = bad_lines(inner, catches_all).splitlines()
    unexcused = [where for where in bad if not EXPLAINED.search(_line(where))]
    assert not unexcused, "\n".join(unexcused)


def test_every_queue_has_a_bound() -> None:
    def unbounded(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name == "SimpleQueue" or (name in ("Queue", "PriorityQueue") and not (node.args or node.keywords))

    assert not (bad := bad_lines(tree.source(), unbounded)), bad


def test_nothing_is_left_unfinished_or_silenced_without_a_reason() -> None:
    found = [
        *_lines(UNFINISHED, (*tree.source(), *tree.tests())),
        *_lines(UNEXPLAINED, (*tree.source(), *tree.tests())),
    ]
    assert not found, "\n".join(found)


def test_no_text_names_a_machine_or_a_registry() -> None:
    found = list(_lines(FOREIGN, tree.texts()))
    assert not found, "\n".join(found)


def test_the_lock_holds_hashes_and_no_addresses() -> None:
    lines = (tree.ROOT / LOCK).read_text().splitlines()
    addresses = [
        f"{LOCK}:{n}" for n, line in enumerate(lines, 1) if "://" in line or line.startswith(("--index", "--find"))
    ]
    assert not addresses
    pins = [n for n, line in enumerate(lines) if "==" in line]
    assert all("--hash=sha256:" in lines[n + 1] for n in pins)


def test_the_packaged_quickstart_is_the_example() -> None:
    example, packaged = tree.ROOT / "examples" / "quickstart", tree.ROOT / "setpoint" / "local" / "quickstart"
    files = {path.relative_to(example): path.read_text() for path in example.rglob("*.yaml")}
    assert files == {path.relative_to(packaged): path.read_text() for path in packaged.rglob("*.yaml")}


def _line(where: str) -> str:
    name, _, number = where.rpartition(":")
    return (tree.ROOT / name).read_text().splitlines()[int(number) - 1]


def _lines(pattern: re.Pattern[str], paths: Iterator[Path] | list[Path] | tuple[Path, ...]) -> Iterator[str]:
    for path in paths:
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue  # not text
        for number, line in enumerate(lines, 1):
            if match := pattern.search(line):
                yield f"{tree.place(path, number)}: {match[0].strip()}"
