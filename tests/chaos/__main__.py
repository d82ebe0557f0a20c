"""``python -m tests.chaos --seed N --seconds S``: load, faults, healing, quiet, judgement. Exit 1 on a violation.

Everything runs as real processes in a temporary directory. What a failed run leaves (evidence, schedule, logs) is kept
and named; ``--judge DIR`` judges kept evidence again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec

from setpoint.contracts.problem import Problem
from tests.acceptance.harness import World, world
from tests.chaos.checker import violations
from tests.chaos.evidence import Evidence
from tests.chaos.load import Follower, Tenant, Visitor
from tests.chaos.nemesis import LEASE_TTL_S, Nemesis, schedule

_QUIET_S = 120.0


def main() -> int:
    """Run, judge, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep the run there, failed or not (chaos-evidence: failed ones)")
    parser.add_argument("--judge", type=Path, help="judge the evidence in this directory and run nothing")
    chosen = parser.parse_args()
    if chosen.judge:
        return report([msgspec.json.decode(p.read_bytes(), type=Evidence) for p in chosen.judge.glob("*.evidence")])
    ttl = {"SETPOINT_LEASE_TTL": f"{LEASE_TTL_S:g}s"}
    hosts = ("celld", "celld-2", "sandboxd", "sandboxd-2")
    with world(cell_hosts=2, sandbox_hosts=2, gateways=2, extra=dict.fromkeys(hosts, ttl)) as stack:
        found, failures = one_run(stack, chosen.seed, chosen.seconds, chosen.sessions)
        for line, times in errors(stack.root / "logs").most_common():
            say(f"in the logs, {times} times: {line}")
        code = report(found, failures)
        if code or chosen.keep:
            keep(stack, found, (chosen.keep or Path("chaos-evidence")) / f"seed-{chosen.seed}")
    return code


def one_run(stack: World, seed: int, seconds: float, sessions: int) -> tuple[list[Evidence], list[str]]:
    """Load and kill for ``seconds``, heal, and return what there is to judge, and what did not come to rest."""
    servers = [f"http://127.0.0.1:{port}" for name, port in stack.stack.ports.items() if name.startswith("gateway")]
    ids = [stack.session(f"chaos-{seed}-{n}") for n in range(sessions)]
    tenants = [Tenant(servers, stack.stack.api_key, session, f"s{seed}-{n}") for n, session in enumerate(ids)]
    followers = [Follower(servers, stack.stack.api_key, session) for session in ids]
    visitor = Visitor(servers, stack.stack.api_key, f"v{seed}")
    for tenant in tenants:
        tenant.apply(0, "1s", 4)
    stop, stop_reading = threading.Event(), threading.Event()
    clients: list[Tenant | Visitor] = [*tenants, visitor]
    working = [threading.Thread(target=who.work, args=(stop,), daemon=True) for who in clients]
    reading = [threading.Thread(target=follower.work, args=(stop_reading,), daemon=True) for follower in followers]
    for thread in (*working, *reading):
        thread.start()
    nemesis = Nemesis(stack, say)
    names = list(stack.stack.daemons)
    groups = [[name for name in names if name.split("-")[0] == kind] for kind in ("celld", "sandboxd", "gateway")]
    nemesis.run(schedule(seed, seconds, *groups), seconds)
    stop.set()
    nemesis.heal()
    say("healed")
    for thread in working:
        thread.join(timeout=_QUIET_S)
    for tenant in tenants:
        tenant.calm()
    failures = [failure for tenant in tenants if (failure := rest(stack, tenant.session))]
    failures += [failure for tenant in visitor.tenants if (failure := rest(stack, tenant.session, closed=True))]
    found = [collect(stack, tenant, follower.seen) for tenant, follower in zip(tenants, followers, strict=True)]
    found += [collect(stack, tenant, []) for tenant in visitor.tenants]
    stop_reading.set()
    for tenant in tenants:
        tenant.close()
    say(f"faults: {json.dumps(nemesis.done)}; in all {sum(nemesis.done.values())}")
    for line in nemesis.died_by_itself:
        say(f"died by itself: {line}")
    posts = [post for tenant in (*tenants, *visitor.tenants) for post in tenant.posts]
    seen = [(len(e.events), len(e.streamed), len(e.recorder.splitlines()), len(e.marks.split())) for e in found[:9]]
    say(f"commands {len(posts)}, attempts repeated {sum(p.failures for p in posts)}")
    say(f"events, streamed, recorder lines, marks: {seen}")
    return found, failures


def rest(stack: World, session: str, *, closed: bool = False) -> str:
    """Wait until a session is converged (or closed) and its log stands still; return what it still did."""
    pause = threading.Event()
    deadline = time.monotonic() + _QUIET_S
    head, same_since, assets = -1, time.monotonic(), {}
    while time.monotonic() < deadline:
        try:
            now = int(stack.api.session(session)["head_seq"])
            assets = stack.assets(session)
            posted = stack.api.pages(f"/v1/sessions/{session}/commands")
            open_ = [command for command in posted if command["status"] in ("queued", "accepted")]
        except Problem as problem:
            if not problem.kind.retry:
                raise
            continue
        if now != head:
            head, same_since = now, time.monotonic()
        settled = not open_ and (closed or all(a["state"] == "ready" and not a["stale"] for a in assets.values()))
        if settled and time.monotonic() - same_since > (0.0 if closed else 1.5):
            return ""
        pause.wait(0.2)
    states = {name: (a["state"], a["known"], a["pending"], a["retry_at"]) for name, a in assets.items()}
    return f"session {session} does not come to rest within {_QUIET_S:g} s: head {head}, {states}"


def collect(stack: World, tenant: Tenant, streamed: list[int]) -> Evidence:
    """Read everything there is of one session."""
    session = tenant.session
    events = stack.events(session)
    wanted = {event["data"]["resources"] for event in events if event["type"] == "resources.applied"}
    blobs = {p.name: p.read_bytes() for p in (stack.root / "objects").glob("*/blobs/*") if p.name in wanted}
    started = {event["execution_id"]: event["seq"] for event in events if event["type"] == "sync.started"}
    recorders = [path.read_text() for path in stack.root.rglob("recorder.log")]
    mine = [(started[text.split()[2]], text) for text in recorders if text.split()[2] in started]
    marks = [path.read_text() for path in stack.root.rglob("marks.log")]
    return Evidence(
        session,
        events,
        stack.assets(session),
        "".join(text for _, text in sorted(mine)),  # a session that moved has had several workspaces
        "".join(text for text in marks if text.startswith(f"{tenant.seed}-")),
        tuple(tenant.posts),
        tuple(streamed),
        blobs,
    )


def errors(logs: Path) -> Counter[str]:
    """Count what the daemons called an error, or said without their own words: tracebacks and warnings of libraries."""
    found: Counter[str] = Counter()
    for path in (path for path in logs.glob("*.log") if path.stem != "postgres"):
        for line in path.read_text(errors="replace").splitlines():
            if not line.startswith("{"):
                said = "" if line.startswith((" ", "Traceback")) or not line.strip() else line
            else:
                entry = json.loads(line)
                trace = str(entry.get("exception", "")).strip().splitlines()[-1:]
                said = " ".join([str(entry.get("event")), *trace]) if trace or entry.get("level") == "error" else ""
            if said:
                found[f"{path.stem.split('-')[0]}: {said[:300]}"] += 1
    return found


def report(found: list[Evidence], failures: list[str] | None = None) -> int:
    """Say every violation; return the exit code."""
    lines = list(failures or [])
    for evidence in found:
        lines += [f"{evidence.session}: {line}" for line in violations(evidence)]
    for line in lines:
        say(f"VIOLATION {line[:1500]}")
    say("no violation" if not lines else f"{len(lines)} violations")
    return 1 if lines else 0


def keep(stack: World, found: list[Evidence], place: Path) -> None:
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
