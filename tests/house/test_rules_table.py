"""The tables of docs/internals: tests that are named exist, rules can be taken out, names have one name."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from setpoint.contracts.event import TYPES
from tests.ablate.__main__ import fault
from tests.ablate.ablation import Ablation
from tests.ablate.safeguards import CORE, SAFEGUARDS
from tests.ablate.traces import TRACES
from tests.house import tree

RULES = tree.ROOT / "docs" / "internals" / "rules.md"
RECONCILE = tree.ROOT / "docs" / "internals" / "reconcile.md"
TEST = re.compile(r"`([\w/.]+)::(test_\w+)`")
NAGI = ("EvalFailed", "Suspended", "SyncLockSkipped", "Halted")
COGOS = ("plan.start", "plan.complete", "apply.start", "apply.action", "apply.complete", "drift.detected", "error")


def path_of(module: str) -> Path:
    """Return the file that a row names: of the core by its bare name, of others by its path below tests/."""
    if "/" in module:
        return tree.ROOT / "tests" / module
    return tree.ROOT / "tests" / "unit" / "celld" / "core" / f"test_{module}.py"


def named() -> Iterator[tuple[Path, str]]:
    for module, name in TEST.findall(RULES.read_text()):
        yield path_of(module), name


def has(path: Path, name: str) -> bool:
    return path.is_file() and any(function.name == name for function in tree.functions(tree.syntax(path)))


def test_every_test_that_is_named_exists() -> None:
    found = list(named())
    assert len(found) > 150
    assert [f"{path.name}::{name}" for path, name in found if not has(path, name)] == []


def test_every_row_of_a_rule_or_a_defect_names_a_test() -> None:
    rows = [line for line in RULES.read_text().splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(rows) > 120
    assert [row for row in rows if "::test_" not in row] == []


def test_every_rule_can_be_taken_out_of_the_code_as_it_is() -> None:
    assert [problem for one in (*TRACES, *SAFEGUARDS) if (problem := fault(one, tree.ROOT))] == []
    for one in (*TRACES, *CORE):
        ast.parse((tree.ROOT / one.file).read_text().replace(one.old, one.new), one.file)


def test_every_rule_that_is_taken_out_has_its_test_in_the_tables() -> None:
    def is_listed(one: Ablation) -> bool:
        path, _, name = one.test.partition("::")
        return (tree.ROOT / path, name) in set(named())

    assert [one.rule for one in TRACES] == [f"R{n}" for n in range(1, 21)]
    assert [one.rule for one in (*TRACES, *SAFEGUARDS) if not is_listed(one)] == []
    assert max(Counter(one.rule for one in (*TRACES, *SAFEGUARDS)).values()) == 1


def test_each_name_of_nagi_and_of_cogos_has_one_of_ours() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (?:Nagi|CogOS) \| `([\w.]+)`", RECONCILE.read_text(), re.MULTILINE)
    assert sorted(theirs for theirs, _ in rows) == sorted([*NAGI, *(f"cog.reconcile.{name}" for name in COGOS)])
    ours = [name for _, name in rows]
    assert set(ours) <= TYPES
    assert max(Counter(ours).values()) == 1
