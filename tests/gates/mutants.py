"""What the tests notice: the score of mutants of the pure rooms, by file, and every survivor with its reason.

Run by ``make mutants``. mutmut makes the mutants and runs the tests on each; which rooms and which tests is said in
``pyproject.toml``. A full run takes an hour or two on two cores; ``SAMPLE=1000 SEED=1`` takes a random part of them.
A mutant that lives on is either explained by a row of ``survivors.toml`` or printed as unexplained.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from random import Random
from typing import Final

from mutmut.mutation.diff_apply import get_diff_for_mutant

ROOT: Final = Path(__file__).parents[2]
MUTMUT: Final = str(Path(sys.executable).parent / "mutmut")
REASONS: Final = Path(__file__).parent / "survivors.toml"
BAR: Final = 0.85
_KILLED: Final = {1, 3, 36, 24, -24, 152, 255, -11, -9}
"""Exit codes of mutmut that say that a test failed, or that the mutant never ended or crashed."""


_TOKEN: Final = re.compile(r'f?"(?:[^"\\]|\\.)*"|\w+|\S')
_PROSE: Final = frozenset({"message", "hint", "said", "detail", "clears", "unreadable"})
"""The names under which the rooms keep a text for a person."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutant: its name as mutmut gives it, the file it is of, and whether a test noticed (None: not tried)."""

    name: str
    file: str
    killed: bool | None


def found() -> Iterator[Mutant]:
    """Yield all mutants of the last run with what became of them."""
    for meta in sorted((ROOT / "mutants").rglob("*.meta")):
        file = str(meta.relative_to(ROOT / "mutants")).removesuffix(".meta")
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        for name, code in codes.items():
            yield Mutant(name, file, None if code is None else code in _KILLED)


def run(names: list[str], workers: int) -> None:
    """Let mutmut try these mutants (all when none is named); its own report goes to stderr."""
    command = [MUTMUT, "run", "--max-children", str(workers), *names]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)


def change_of(mutant: Mutant) -> str:
    """Return the line that a mutant changed and what it became, as ``- old`` and ``+ new`` in one line.

    One that changed nothing but what is said to a person ends with ``[words]``.
    """
    lines = get_diff_for_mutant(mutant.name, path=mutant.file).splitlines()[2:]
    old, new = ([" ".join(line.split()) for line in lines if line[:1] == sign] for sign in "-+")
    return " ".join([*old, *new]) + (" [words]" if words_only(" ".join(old), " ".join(new)) else "")


def words_only(old: str, new: str) -> bool:
    """Tell whether all that a line lost is prose: texts with a space in them, and variables that hold such a text."""
    before, after = (_TOKEN.findall(line[1:]) for line in (old, new))
    steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    lost = [token for kind, start, end, _, _ in steps if kind != "equal" for token in before[start:end]]
    return any(map(_is_prose, lost)) and all(token == "," or _is_prose(token) for token in lost)


def _is_prose(token: str) -> bool:
    return token in _PROSE or (token.endswith('"') and " " in token)


def report(mutants: list[Mutant]) -> int:
    """Print scores and survivors; return the exit code."""
    tried = [mutant for mutant in mutants if mutant.killed is not None]
    by_file: dict[str, Counter[bool]] = defaultdict(Counter)
    for mutant in tried:
        by_file[mutant.file][bool(mutant.killed)] += 1
    print(f"{'file':<48} {'mutants':>8} {'killed':>8} {'score':>7}")
    for file, counts in sorted(by_file.items()):
        total = counts.total()
        print(f"{file:<48} {total:>8} {counts[True]:>8} {counts[True] / total:>7.1%}")
    killed = sum(bool(mutant.killed) for mutant in tried)
    print(f"{'all that were tried':<48} {len(tried):>8} {killed:>8} {killed / max(1, len(tried)):>7.1%}")
    print(f"{'not tried':<48} {len(mutants) - len(tried):>8}")
    _survivors([mutant for mutant in tried if not mutant.killed])
    return 0 if tried and killed >= BAR * len(tried) else 1


def _survivors(alive: list[Mutant]) -> None:
    """Print the survivors under the reason that explains them, the unexplained last."""
    rows = [(re.compile(row["match"]), str(row["reason"])) for row in tomllib.loads(REASONS.read_text())["reasons"]]
    told: dict[str, list[str]] = defaultdict(list)
    for mutant in alive:
        line = f"{mutant.name}: {change_of(mutant)}"
        told[next((reason for match, reason in rows if match.search(line)), "")].append(line)
    for reason, lines in sorted(told.items(), reverse=True):
        print(f"\n{len(lines)} survive: {reason or 'unexplained'}")
        for line in lines:
            print(f"  {line[:300]}")


def main() -> int:
    """Run and report."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--sample", type=int, default=0, help="try so many of the mutants (default: all)")
    words.add_argument("--seed", type=int, default=1, help="which ones")
    words.add_argument("--workers", type=int, default=2)
    words.add_argument("--only", default="", help="mutants whose name begins so")
    words.add_argument("--report", action="store_true", help="only report on the last run")
    chosen = words.parse_args()
    os.chdir(ROOT)  # mutmut looks for its settings and its mutants where it stands
    if not chosen.report:
        names: list[str] = [f"{chosen.only}*"] if chosen.only else []
        if chosen.sample:
            run(["celld.core.answer.*"], chosen.workers)  # all mutants are made, a few are tried
            names = sorted(mutant.name for mutant in found() if mutant.name.startswith(chosen.only))
            names = Random(chosen.seed).sample(names, min(chosen.sample, len(names)))
        run(names, chosen.workers)
    return report(list(found()))


if __name__ == "__main__":
    sys.exit(main())
