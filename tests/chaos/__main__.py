"""``python -m tests.chaos --seed N --kills K``: load, faults, healing, quiet, judgement. Exit 1 on a violation.

Everything runs as real processes in a temporary directory. What a failed run leaves (evidence, logs) is kept and named;
``--judge DIR`` judges kept evidence again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.acceptance.harness import World
from tests.chaos.ablate import ablate
from tests.chaos.checker import CHECKS, violations
from tests.chaos.collect import errors
from tests.chaos.evidence import Evidence
from tests.chaos.run import Result, one_run, wired
from tests.chaos.scenes import SCENES
from tests.chaos.tally import ENOUGH, WANTED, missing

_TOLD_MAX = 40


def main() -> int:
    """Run, judge, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=40, help="end after so many SIGKILLs")
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="keep the run there, failed or not (chaos-evidence: failed ones)")
    parser.add_argument("--judge", type=Path, help="judge the evidence in this directory and run nothing")
    parser.add_argument("--scene", choices=SCENES, help="play this directed schedule and judge it")
    parser.add_argument("--ablate", nargs="?", const="", metavar="NAME", help="play builds without a rule: all, or one")
    chosen = parser.parse_args()
    if chosen.scene:
        return report(SCENES[chosen.scene]())
    if chosen.ablate is not None:
        return ablate(chosen.ablate, say)
    if chosen.judge:
        return report([msgspec.json.decode(p.read_bytes(), type=Evidence) for p in chosen.judge.glob("*.evidence")])
    with wired() as parts:
        result = one_run(parts, chosen.seed, chosen.kills, chosen.sessions, say)
        for line, times in errors(result.logs).most_common(_TOLD_MAX):
            say(f"in the logs, {times} times: {line}")
        summary(result)
        code = report(result.found, result.failures)
        if code or chosen.keep:
            keep(parts[0], result.found, (chosen.keep or Path("chaos-evidence")) / f"seed-{chosen.seed}")
    if few := missing(result.count):
        say(f"too little was reached to say anything about it (less than {ENOUGH}): {', '.join(few)}")
    say(f"again: make chaos SEED={chosen.seed} KILLS={chosen.kills}")
    return code


def summary(result: Result) -> None:
    """Say what the run was like."""
    posts = [post for evidence in result.found for post in evidence.posts]
    say(f"sessions {len(result.found)}, events {sum(len(evidence.events) for evidence in result.found)}")
    say(
        f"commands acknowledged {sum(bool(post.command_ids) for post in posts)}, {result.rate:.1f} a second while it "
        f"was killed; attempts repeated {sum(post.failures for post in posts)}"
    )
    counters = {word: result.count[word] for word in WANTED}
    say(f"kills {result.kills}; reached: {json.dumps(counters)}")
    say(f"also: {json.dumps({word: n for word, n in sorted(result.count.items()) if word not in WANTED})}")


def report(found: Sequence[Evidence], failures: Sequence[str] = ()) -> int:
    """Say every violation and how many each check found; return the exit code."""
    count: Counter[str] = Counter({check.__name__: 0 for check in CHECKS})
    for line in failures:
        say(f"VIOLATION {line[:1500]}")
    for evidence in found:
        for line in violations(evidence):
            count[line.partition(":")[0]] += 1
            say(f"VIOLATION {evidence.session}: {line[:1500]}")
    total = len(failures) + count.total()
    say(f"violations by check: {json.dumps(count)}")
    say("no violation" if not total else f"{total} violations")
    return 1 if total else 0


def keep(stack: World, found: Sequence[Evidence], place: Path) -> None:
    """Keep what is needed to understand a failed run."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for evidence in found:
        (place / f"{evidence.session}.evidence").write_bytes(msgspec.json.encode(evidence))
    shutil.copytree(stack.root / "logs", place / "logs")
    shutil.copy(stack.root / "postgres" / "postgres.log", place / "logs")
    say(f"kept in {place}")


def say(text: str) -> None:
    """Say one line."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
