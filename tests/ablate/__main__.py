"""``python -m tests.ablate [RULE]...``: take rules out one at a time in a copy of the tree, and see their tests fail.

Prints a table. Exit 1 when a test still passes without its rule, or fails with it; 2 when a text that is to be replaced
is not found any more: then the ablation is brought up to date with the code. The tree itself is never changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.ablate.ablation import Ablation
from tests.ablate.safeguards import SAFEGUARDS
from tests.ablate.traces import TRACES

ROOT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = (
    "setpoint",
    "migrations",
    "gateway",
    "broker",
    "celld",
    "sandboxd",
    "tests",
    "docs",
    "proto",
    "examples",
)
_TEST_S_MAX: Final = 120.0
_ALL_S_MAX: Final = 600.0
_FAILED: Final = 1


def main(wanted: Sequence[str]) -> int:
    """Run the ablations of these rules (none named: all) and return the exit code."""
    chosen = [one for one in (*TRACES, *SAFEGUARDS) if not wanted or one.rule in wanted]
    stale = [problem for one in chosen if (problem := fault(one, ROOT))]
    if stale or not chosen:
        print("\n".join(stale) or f"there is no rule {', '.join(wanted)}")
        return 2
    with tempfile.TemporaryDirectory(prefix="setpoint-ablate-") as name:
        copy = Path(name)
        copy_tree(copy)
        if _pytest(copy, sorted({one.test for one in chosen}), _ALL_S_MAX) != 0:
            print("these tests fail with every rule in its place: mend that first")
            return 1
        caught = [_row(copy, one) for one in chosen]
    print(f"{sum(caught)} of {len(caught)} rules are caught when they are taken out")
    return 0 if all(caught) else 1


def fault(one: Ablation, root: Path) -> str:
    """Say why an ablation cannot be carried out on the tree below ``root``; empty when it can."""
    count = (root / one.file).read_text(encoding="utf-8").count(one.old)
    if count == 1:
        return ""
    return f"{one.rule}: the text to take out stands {count} times in {one.file}, not once: {one.old.strip()!r}"


def _row(copy: Path, one: Ablation) -> bool:
    path = copy / one.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace(one.old, one.new), encoding="utf-8")
    begun = time.monotonic()
    code = _pytest(copy, [one.test], _TEST_S_MAX)
    path.write_text(whole, encoding="utf-8")
    word = {_FAILED: "caught", None: "caught (never ends)", 0: "NOT CAUGHT"}.get(code, f"NO ANSWER (pytest {code})")
    seconds = f"{time.monotonic() - begun:.1f} s"
    print(f"{one.rule:4} {word:12} {seconds:>7}  {one.says}  [{one.test.rpartition('/')[2]}]", flush=True)
    return word.startswith("caught")


def copy_tree(copy: Path) -> None:
    """Copy what is needed to run the tests into an empty directory."""
    for name in _COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, copy / name)


def _pytest(copy: Path, tests: Sequence[str], seconds: float) -> int | None:
    """Run tests on the copy; None when they do not end in time."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests]
    with subprocess.Popen(
        words, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
    if process.returncode > _FAILED:
        print(said[-2000:])
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
