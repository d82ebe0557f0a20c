"""Waits until a session is at rest, and reads everything there is of it. Judges nothing."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from setpoint.contracts.problem import Problem
from tests.acceptance.harness import World
from tests.chaos.evidence import Evidence, Json
from tests.chaos.load import Tenant
from tests.chaos.recorder import Recorder

QUIET_S: Final = 120.0
"""How long a session that is not at rest may stand still."""
_REST_S_MAX: Final = 600.0


def rest(stack: World, session: str, *, closed: bool = False) -> str:
    """Wait until a session is converged (or closed) and its log stands still; return what it still did.

    A queue of syncs is worked off one after the other, so as long as the log moves there is more time, within a bound.
    """
    pause = threading.Event()
    deadline = time.monotonic() + _REST_S_MAX
    head, same_since = -1, time.monotonic()
    assets: dict[str, Json] = {}
    while time.monotonic() < min(deadline, same_since + QUIET_S):
        try:
            now = int(stack.api.session(session)["head_seq"])
            assets = stack.assets(session)
            open_ = [status for status in commands(stack, session).values() if status in ("queued", "accepted")]
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
    return f"session {session} does not come to rest: head {head}, {states}"


def commands(stack: World, session: str) -> dict[str, str]:
    """Return the status of each command of a session as the API lists it."""
    listed = stack.api.pages(f"/v1/sessions/{session}/commands")
    return {command["command_id"]: command["status"] for command in listed}


def collect(stack: World, recorder: Recorder, tenant: Tenant, streamed: list[int]) -> Evidence:
    """Read everything there is of one session."""
    session = tenant.session
    events = stack.events(session)
    wanted = {event["data"]["resources"] for event in events if event["type"] == "resources.applied"}
    blobs = {p.name: p.read_bytes() for p in (stack.root / "objects").glob("*/blobs/*") if p.name in wanted}
    started = {event["execution_id"]: event["seq"] for event in events if event["type"] == "sync.started"}
    recorders = [text for text in recorder.texts("recorder.log") if text]
    mine = [(started[text.split()[2]], text) for text in recorders if text.split()[2] in started]
    beats = [text for text in recorder.texts("beats.log") if text and text.split()[2] in started]
    return Evidence(
        session,
        events,
        stack.assets(session),
        "".join(text for _, text in sorted(mine)),  # a session that moved has had several workspaces
        "".join(text for text in recorder.texts("marks.log") if text.startswith(f"{tenant.seed}-")),
        tuple(tenant.posts),
        tuple(streamed),
        blobs,
        "".join(beats),
        commands(stack, session),
        int(stack.api.call("GET", f"/v1/sessions/{session}/fencing")["refused"]),
    )


def log_lines(logs: Path) -> dict[str, list[str]]:
    """Return the lines of each daemon's log."""
    found = (path for path in sorted(logs.glob("*.log")) if path.stem != "postgres")
    return {path.stem: path.read_text(errors="replace").splitlines() for path in found}


def errors(logs: Mapping[str, Iterable[str]]) -> Counter[str]:
    """Count what the daemons called an error, or said without their own words: tracebacks and warnings of libraries."""
    found: Counter[str] = Counter()
    for name, lines in logs.items():
        for line in lines:
            if not line.startswith("{"):
                said = "" if line.startswith((" ", "Traceback")) or not line.strip() else line
            else:
                entry = json.loads(line)
                trace = str(entry.get("exception", "")).strip().splitlines()[-1:]
                said = " ".join([str(entry.get("event")), *trace]) if trace or entry.get("level") == "error" else ""
            if said:
                found[f"{name.split('-')[0]}: {said[:300]}"] += 1
    return found
