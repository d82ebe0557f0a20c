"""From all Drifted to all Ready through the whole stack, beside nagi-cli on the same project.

A chain of 100, a fan of 1 to 200, 500 that are independent; the condition is ``test -f``, the sync ``touch``. Wall and
CPU time of whole process trees, Postgres and sandboxes with them. Ours begins with ``apply`` on a stack that is up,
theirs with the start of ``serve``. There is no bar: what a tenant gets for the difference is in
docs/internals/performance.md.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from setpoint.cli.project import upload
from setpoint.client.sse import follow
from tests.acceptance.harness import World, world
from tests.bench import peer, shapes
from tests.bench.processes import children, cpu_s, title
from tests.bench.report import Report, middle
from tests.bench.run import Run

ROUNDS = 3
_LIMIT_S = 300.0


def run(chosen: Sequence[str] = shapes.SHAPES, rounds: int = ROUNDS) -> Iterator[Report]:
    """Measure each shape ``rounds`` times, ours and theirs in turn, and report the medians."""
    root = Path(tempfile.mkdtemp(prefix="setpoint-bench-"))
    try:
        program = peer.install(root)
        ours: dict[str, list[Run]] = {shape: [] for shape in chosen}
        theirs: dict[str, list[Run]] = {shape: [] for shape in chosen}
        begun = time.monotonic()
        with world() as stack:
            started_s = time.monotonic() - begun
            for turn in range(rounds):
                for shape in chosen:
                    graph = shapes.upstreams(shape)
                    files = shapes.files(graph)
                    ours[shape].append(converge(stack, f"{shape}-{turn}", graph, files))
                    theirs[shape].append(peer.converge(program, root / f"{shape}-{turn}", graph, files))
        yield _report(ours, theirs, started_s)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def converge(stack: World, name: str, graph: dict[str, list[str]], files: dict[str, str]) -> Run:
    """Apply a project to a new session and wait until every asset was found Ready."""
    session = stack.session(name)
    content = {path: (text.encode(), 0o644) for path, text in ({"setpoint.yaml": "{}\n"} | files).items()}
    before = _tiers(stack)
    begun = time.monotonic()
    upload(stack.api, session, content, evaluate=False)
    uploaded_s = time.monotonic() - begun
    ready: set[str] = set()
    counts: dict[str, int] = {"events": 0}
    for event in follow(stack.api, session, 0, deadline_s=begun + _LIMIT_S):
        counts["events"] += 1
        counts[event["type"]] = counts.get(event["type"], 0) + 1
        if event["type"] == "evaluation.completed" and event["data"]["verdict"] == "ready":
            ready.add(str(event["asset"]))
            if len(ready) == len(graph):
                break
    wall_s = time.monotonic() - begun
    after = _tiers(stack)
    tiers = {tier: round(after[tier] - before.get(tier, 0.0), 2) for tier in after}
    assert ready == set(graph), "something else than these assets is Ready"
    stack.ended(session, stack.api.command(session, "close", {})["command_id"])
    counts["upload_ms"] = round(uploaded_s * 1000)
    done = (counts.get("evaluation.completed", 0), counts.get("sync.started", 0))
    return Run(wall_s, sum(tiers.values()), *done, tiers, counts)


def _tiers(stack: World) -> dict[str, float]:
    """Return the CPU seconds of each part so far; the cells apart from the host that feeds them."""
    found: dict[str, float] = {}
    for name, daemon in stack.stack.daemons.items():
        assert daemon.pid is not None, f"{name} does not run"
        total = cpu_s([daemon.pid])
        cells = sum(cpu_s([child]) for child in children(daemon.pid) if "setpoint: zygote" in title(child))
        found[name] = total - cells
        if cells:
            found["cells"] = cells
    if stack.stack.cluster is not None and stack.stack.cluster.pid is not None:
        found["postgres"] = cpu_s([stack.stack.cluster.pid])
    return found


def _report(ours: dict[str, list[Run]], theirs: dict[str, list[Run]], started_s: float) -> Report:
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {"stack_start_s": round(started_s, 2)}
    ratios: list[float] = []
    notes: list[str] = [f"the stack was up after {started_s:.1f} s"]
    for shape in ours:
        mine, peers = ours[shape], theirs[shape]
        wall, cpu = middle([one.wall_s for one in mine]), middle([one.cpu_s for one in mine])
        wall_peer, cpu_peer = middle([one.wall_s for one in peers]), middle([one.cpu_s for one in peers])
        ratios.append(wall / wall_peer)
        rows.append((f"{shape} wall s", f"{wall:.2f}", f"{wall_peer:.2f}", f"{wall / wall_peer:.2f}"))
        rows.append((f"{shape} CPU s", f"{cpu:.2f}", f"{cpu_peer:.2f}", f"{cpu / cpu_peer:.2f}"))
        one, other = mine[-1], peers[-1]
        rows.append((f"{shape} evaluations/syncs", _done(one), _done(other), ""))
        tiers = {tier: round(middle([one.tiers[tier] for one in mine]), 2) for tier in one.tiers}
        figures[shape] = {
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 3),
            "wall_all_s": [round(one.wall_s, 3) for one in mine],
            "nagi_wall_s": round(wall_peer, 3),
            "nagi_cpu_s": round(cpu_peer, 3),
            "nagi_wall_all_s": [round(one.wall_s, 3) for one in peers],
            "cpu_by_tier_s": tiers,
            "counts": one.counts,
        }
        used = ", ".join(f"{tier} {spent:.2f}" for tier, spent in tiers.items())
        notes.append(f"{shape}: CPU s by tier: {used}; {one.counts['events']} events")
    return Report(
        "converge",
        ("", "setpoint", f"nagi {peer.VERSION}", "ratio"),
        tuple(rows),
        figures,
        round(max(ratios), 2),
        notes=tuple(notes),
    )


def _done(one: Run) -> str:
    return f"{one.evaluations}/{one.syncs}"
