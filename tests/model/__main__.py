"""``python -m tests.model``: check the protocol's models with spin, then each mutant, which must fail. `make model`.

Prints a table. Exit 1 when a model does not hold, a mutant is not found, or nothing was reached; 2 when spin or a C
compiler is missing. No part of `make test`: spin comes from the system, and the models are read, not run, elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.model.cases import CASES, Case

HERE: Final = Path(__file__).parent
_SECONDS_MAX: Final = 900.0
_MEBIBYTES_MAX: Final = 8000
_STATES: Final = re.compile(r"(\d+)(?:\.\d+)?(e\+\d+)? states, stored")
_SEARCH: Final = ("-w", "-O2", "-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={_MEBIBYTES_MAX}")
"""Every interleaving, stored whole: no reduction that would have to be believed."""


def main(wanted: Sequence[str]) -> int:
    """Check the cases whose model or rule is named (none named: all) and return the exit code."""
    missing = [name for name in ("spin", "gcc") if shutil.which(name) is None]
    if missing:
        print(f"make model needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")
        return 2
    chosen = [one for one in CASES if not wanted or one.model in wanted or set(one.flags) & set(wanted)]
    if not chosen:
        print(f"there is no model and no rule {', '.join(wanted)}")
        return 2
    print(f"{'model':5} {'rule left out':27} {'states':>10} {'time':>7}  {'verdict':9} what it is")
    right = [_row(one) for one in chosen]
    print(f"{sum(right)} of {len(right)} as they must be")
    return 0 if all(right) else 1


def _row(case: Case) -> bool:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="setpoint-model-") as name:
        said = _search(case, Path(name))
    seconds = f"{time.monotonic() - began:.1f} s"
    found = _STATES.search(said)
    states = int(float(found[1] + (found[2] or ""))) if found else 0
    broken = "assertion violated" in said
    whole = "errors: 0" in said and "Search not completed" not in said and "max search depth too small" not in said
    right = broken if case.must_fail else whole
    word = {(True, True): "found", (True, False): "NOT FOUND", (False, True): "holds", (False, False): "FAILS"}
    verdict = word[case.must_fail, right] if broken or whole else "NO ANSWER"
    print(f"{case.model:5} {case.flag or '-':27} {states:>10,} {seconds:>7}  {verdict:9} {case.says}", flush=True)
    if verdict in ("FAILS", "NO ANSWER"):
        print(said[-2000:])
    return right


def _search(case: Case, place: Path) -> str:
    """Make the checker of a case and run it; return all that was said. Mutants are searched breadth first: short."""
    words = [f"-D{flag}" for flag in case.flags]
    search = (*_SEARCH, "-DBFS") if case.must_fail else _SEARCH
    said = _run(["spin", *words, "-a", str(HERE / f"{case.model}.pml")], place)
    said += _run(["gcc", *search, "-o", "pan", "pan.c"], place)
    return said + _run(["./pan", "-E", "-m1000000"], place)


def _run(words: Sequence[str], place: Path) -> str:
    try:
        done = subprocess.run(
            words,
            cwd=place,
            timeout=_SECONDS_MAX,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        return f"{words[0]}: {error}\n"
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
