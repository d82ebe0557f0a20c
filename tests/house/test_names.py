"""Words of the field, one meaning each: names that say nothing are banned."""

from __future__ import annotations

import ast
import re
from importlib.metadata import packages_distributions

from tests.house import tree

NOUNS = {"manager", "helper", "util", "common", "misc", "base", "data", "info", "handler", "service"}
ANYWHERE = {"manager", "helper", "util", "misc"}


def words(name: str) -> set[str]:
    """Split a snake_case or CamelCase name into its words, plurals made singular."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return {word.removesuffix("s") if word.endswith(("rs", "ls", "es")) else word for word in spaced.split("_")}


def test_the_splitter_knows_both_spellings() -> None:
    assert words("SessionManager") & NOUNS
    assert words("string_utils") & NOUNS
    assert not words("database") & NOUNS


def test_no_module_and_no_class_is_named_by_an_empty_noun() -> None:
    bad = []
    for path in tree.source():
        bad += [f"{tree.place(path)}: module {path.stem}"] if words(path.stem) & NOUNS else []
        for node in ast.walk(tree.syntax(path)):
            if isinstance(node, ast.ClassDef) and words(node.name) & NOUNS:
                bad.append(f"{tree.place(path, node.lineno)}: class {node.name}")
    assert not bad, "\n".join(bad)


def test_no_function_is_named_by_an_empty_noun() -> None:
    bad = [
        f"{tree.place(path, node.lineno)}: {node.name}"
        for path in tree.source()
        for node in tree.functions(tree.syntax(path))
        if words(node.name) & ANYWHERE
    ]
    assert not bad, "\n".join(bad)


def test_each_import_name_is_ours_alone() -> None:
    owners = packages_distributions()
    strangers = {room: owners[room] for room in tree.ROOMS if set(owners.get(room, ())) - {"setpoint"}}
    assert not strangers
