"""A lock that a sync keeps too long, over the command line: seen, broken, and the next sync runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.acceptance.harness import World, world
from tests.acceptance.projects import asset, project, wait_for_file
from tests.measured import measured

KEY = "the warehouse"


def locked(name: str, sync: str = "") -> dict[str, str]:
    """Return a project of one asset whose sync needs the lock."""
    files = project(asset(name, sync=sync))
    text = files["resources/assets.yaml"].replace("spec:\n  run:", f"spec:\n  lockKey: {KEY}\n  run:")
    return {**files, "setpoint.yaml": "lockRetryIntervalSeconds: 1\n", "resources/assets.yaml": text}


def setpoint(w: World, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**measured(), "PATH": os.environ["PATH"], "HOME": str(w.root), "LANG": "C.UTF-8"}
    environment |= {"SETPOINT_SERVER": w.stack.server, "SETPOINT_API_KEY": w.stack.api_key}
    return subprocess.run(
        [sys.executable, "-P", "-m", "setpoint.cli", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )


def listed(w: World) -> list[dict[str, Any]]:
    found = setpoint(w, "-o", "json", "lock", "ls")
    assert found.returncode == 0, found.stderr
    items: list[dict[str, Any]] = json.loads(found.stdout)
    return items


def test_a_lock_is_seen_and_broken_and_the_next_sync_runs() -> None:
    with world() as w:
        one, two = w.session("one"), w.session("two")
        w.apply(one, locked("a", wait_for_file("go")))
        started = w.wait_type(one, "sync.started")
        w.apply(two, locked("b"))
        w.wait_type(two, "sync.waiting")
        (item,) = listed(w)
        assert (item["key"], item["session_name"], item["execution_id"]) == (KEY, "one", started["execution_id"])

        refused = setpoint(w, "lock", "break", KEY, "--reason", "it hangs")
        assert refused.returncode == 5
        assert "[locked]" in refused.stderr
        done = setpoint(w, "lock", "break", KEY, "--reason", "it hangs", "--force")
        assert done.returncode == 0, done.stderr
        told = w.wait_type(one, "lock.broken")
        assert (told["asset"], told["execution_id"]) == ("a", started["execution_id"])
        assert told["data"]["reason"] == "it hangs"

        w.wait_type(two, "sync.succeeded")
        w.tool(one, "exec", argv=["touch", "go"])
        w.wait_type(one, "sync.succeeded")
        w.wait_ready(one, "a")
        assert listed(w) == []
