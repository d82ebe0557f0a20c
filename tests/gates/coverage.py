"""What the tests reach, branches included: the pure rooms by unit and property tests alone, the whole tree by all.

Run by ``make coverage``; both bars must hold. Daemons are measured too (tests/measured.py); a cell and whatever a test
kills is not, because a process that is killed writes nothing down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COVERAGE: Final = (sys.executable, "-m", "coverage")
CORES: Final = "celld/core/*,sandboxd/core/*,setpoint/contracts/*"
CORES_BAR: Final = 95.0
TREE_BAR: Final = 85.0


def measure(*tests: str) -> None:
    """Run tests and combine what their processes measured."""
    subprocess.run([*COVERAGE, "erase"], cwd=ROOT, check=True)
    words = [*COVERAGE, "run", "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", *tests]
    subprocess.run(words, cwd=ROOT, check=True)
    subprocess.run([*COVERAGE, "combine", "-q"], cwd=ROOT, check=True)


def judge(title: str, bar: float, *narrower: str) -> bool:
    """Print a report and its total in lines and branches; tell whether the share of branches reaches the bar."""
    subprocess.run([*COVERAGE, "report", *narrower], cwd=ROOT, check=True)
    subprocess.run([*COVERAGE, "json", "-q", "-o", ".coverage.json", *narrower], cwd=ROOT, check=True)
    totals = json.loads((ROOT / ".coverage.json").read_text())["totals"]
    branches: float = 100.0 * totals["covered_branches"] / totals["num_branches"]
    lines = 100.0 * totals["covered_lines"] / totals["num_statements"]
    print(f"\n{title}: {lines:.1f} % of the lines, {branches:.1f} % of the branches (bar {bar:g} %)\n", flush=True)
    return branches >= bar


def main() -> int:
    """Measure both, print both."""
    measure("tests/unit", "tests/property")
    cores = judge("the pure rooms, by unit and property tests", CORES_BAR, f"--include={CORES}")
    measure("tests/unit", "tests/property", "tests/integration", "tests/acceptance")
    tree = judge("the whole tree, by all tests", TREE_BAR)
    return 0 if cores and tree else 1


if __name__ == "__main__":
    sys.exit(main())
