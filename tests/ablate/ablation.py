"""What it is to take a rule out: a small replacement in one file, and the test that must then fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ablation:
    """``old`` stands exactly once in ``file``; with ``new`` in its place the rule is gone and ``test`` fails.

    ``rule`` is the id in docs/internals/rules.md, ``says`` the rule in a few words. ``test`` is a pytest node.
    """

    rule: str
    says: str
    file: str
    old: str
    new: str
    test: str


def core(rule: str, says: str, file: str, old: str, new: str, test: str) -> Ablation:
    """Return an ablation of the core, whose test is a unit test of it: ``rules::test_r1_...``."""
    module, name = test.split("::")
    return Ablation(rule, says, f"celld/core/{file}.py", old, new, f"tests/unit/celld/core/test_{module}.py::{name}")
