"""``python -m tests.chaos --ablate [NAME]``: builds without a rule, which the checker must turn red.

Each rule has a directed schedule (``scenes``). It is played on the tree as it is and must be green; then on a copy from
which the rule is taken out and must be red, by the check that it names. The tree itself is never changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.ablate.__main__ import ROOT, copy_tree

_SCENE_S_MAX: Final = 400.0


@dataclass(frozen=True, slots=True)
class Patch:
    """``old`` stands exactly once in ``file``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Build:
    """A build without a rule: ``says`` which, ``scene`` needs it, ``check`` finds that it is gone."""

    name: str
    says: str
    patches: tuple[Patch, ...]
    scene: str
    check: str


BUILDS: Final = (
    Build(
        "floor",
        "a sandbox host refuses what is of an older epoch than it has seen",
        (Patch("sandboxd/ledger.py", "        if epoch < floor:\n", "        if epoch < (0, 0):\n"),),
        "late-start",
        "together",
    ),
    Build(
        "mark",
        "who takes over from an expired lease marks its holder, in acquire and in host_dead, which comes before it",
        (
            Patch(
                "migrations/versions/0008_lifecycle.sql",
                "UPDATE cell_hosts c SET state = 'fenced'\n            WHERE c.host_id = x.owner_host",
                "UPDATE cell_hosts c SET state = c.state\n            WHERE c.host_id = x.owner_host",
            ),
            Patch(
                "migrations/versions/0007_leases.sql",
                "UPDATE cell_hosts c SET state = 'fenced'\n        WHERE c.host_id = h AND c.incarnation = inc",
                "UPDATE cell_hosts c SET state = c.state\n        WHERE c.host_id = h AND c.incarnation = inc",
            ),
        ),
        "late-renewal",
        "owners",
    ),
    Build(
        "deadline",
        "the orphan deadline counts from the clock token, not from the receipt of the start",
        (
            Patch(
                "sandboxd/host.py",
                "            deadline_s = frame.token.clock_s + spec.orphan_timeout_s\n",
                "            deadline_s = runtime.boottime_s() + spec.orphan_timeout_s\n",
            ),
        ),
        "late-delivery",
        "together",
    ),
)


def ablate(wanted: str, say: Callable[[str], None]) -> int:
    """Play these builds (empty: all) and return the exit code: 1 when one is not told from the whole."""
    chosen = [build for build in BUILDS if wanted in ("", build.name)]
    if stale := [problem for build in chosen for problem in faults(build, ROOT)]:
        say("\n".join(stale))
        return 2
    if not chosen:
        say(f"there is no build {wanted!r}; there are {', '.join(build.name for build in BUILDS)}")
        return 2
    good = [_held(build, say) for build in chosen]
    say(f"{sum(good)} of {len(good)} builds are green with their rule and red without it")
    return 0 if all(good) else 1


def faults(build: Build, root: Path) -> list[str]:
    """Say which texts of a build do not stand exactly once below ``root``."""
    found = []
    for patch in build.patches:
        count = (root / patch.file).read_text(encoding="utf-8").count(patch.old)
        if count != 1:
            found.append(f"{build.name}: the text to take out stands {count} times in {patch.file}: {patch.old!r}")
    return found


def _held(build: Build, say: Callable[[str], None]) -> bool:
    green, said = _play(ROOT, build.scene)
    say(f"{build.name:8} with the rule    {'green' if green == 0 else 'NOT GREEN'}  {said[-1]}")
    with tempfile.TemporaryDirectory(prefix="setpoint-chaos-") as name:
        copy = Path(name)
        copy_tree(copy)
        for patch in build.patches:
            path = copy / patch.file
            path.write_text(path.read_text(encoding="utf-8").replace(patch.old, patch.new), encoding="utf-8")
        red, told = _play(copy, build.scene)
    hits = [line for line in told if line.startswith("VIOLATION") and f" {build.check}: " in line]
    caught = red == 1 and bool(hits)
    say(f"{build.name:8} without the rule {'red' if caught else 'NOT RED'}  {(hits or told)[-1]}")
    if green != 0 or not caught:
        say("\n".join(["--- with the rule", *said[-12:], "--- without it", *told[-12:]]))
    return green == 0 and caught


def _play(tree: Path, scene: str) -> tuple[int, list[str]]:
    """Play a scene with the code of a tree, as a process of its own; returns its exit code and what it said."""
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "tests.chaos", "--scene", scene]
    done = subprocess.run(
        words, cwd=tree, env=environment, capture_output=True, text=True, timeout=_SCENE_S_MAX, check=False
    )
    lines = (done.stdout + done.stderr).strip().splitlines() or ["nothing was said"]
    return done.returncode, [*lines[:-1], f"{lines[-1]} ({time.monotonic() - begun:.0f} s)"]
