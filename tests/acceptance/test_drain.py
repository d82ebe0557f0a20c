"""A host is emptied by ``setpoint host drain`` while its sessions go on: real daemons and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.acceptance.harness import World, gapless, world
from tests.acceptance.test_survival import began, let_go, slow
from tests.measured import measured


def setpoint(stack: World, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as the operator of a stack."""
    environment = {
        **measured(),
        "PATH": os.environ["PATH"],
        "HOME": str(stack.root),
        "SETPOINT_BROKERS": f"127.0.0.1:{stack.stack.ports['broker']}",
        "SETPOINT_OPERATOR_KEY_FILE": str(stack.root / "secrets" / "operator.key"),
    }
    command = [sys.executable, "-P", "-m", "setpoint.cli", "host", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=90)


def test_both_hosts_of_a_session_are_emptied_under_its_running_sync_which_ends_well() -> None:
    with world(cell_hosts=2, sandbox_hosts=2) as stack:
        session = stack.session("moves")
        stack.apply(session, slow())
        began(stack, session)
        owner = str(stack.api.session(session)["owner_host"])
        place = str(stack.wait_type(session, "workspace.materialized")["data"]["sandbox_host"])
        other = {"celld": "celld-2", "celld-2": "celld"}[owner]
        emptied = setpoint(stack, "drain", owner, "-m", "a new disk")
        assert (emptied.returncode, emptied.stdout) == (0, ""), emptied.stderr
        assert emptied.stderr.endswith(f"{owner} is empty\n")
        stack.until(lambda: stack.api.session(session)["owner_host"] == other, "the other host has it")
        stack.wait_type(session, "run.adopted")
        stack.kill(owner)
        waits = setpoint(stack, "drain", place, "--timeout", "1")
        assert waits.returncode == 6, waits.stderr
        assert "1 sessions are left" in waits.stderr
        assert "a run is open: slow" in waits.stdout
        # What would write into the workspace would be a start there: the file is put by hand.
        (path,) = stack.root.rglob("slow.began")
        (path.parent / "go").touch()
        emptied = setpoint(stack, "drain", place, "-o", "json")
        assert emptied.returncode == 0, emptied.stderr
        assert json.loads(emptied.stdout)["done"] is True
        stack.wait_type(session, "sync.succeeded", "slow")
        stack.kill(place)
        let_go(stack, session)
        stack.wait_ready(session)
        shown = setpoint(stack, "ls")
        assert all(word in shown.stdout for word in ("fenced", "ready")), shown.stdout
        events = stack.events(session)
        assert gapless(events)
        types = [event["type"] for event in events]
        assert "sync.outcome_unknown" not in types
        assert types[: types.index("sync.succeeded")].count("sync.started") == 1


def test_a_drain_that_cannot_end_says_why_and_is_called_off() -> None:
    with world() as stack:
        session = stack.session("stays")
        assert stack.tool(session, "echo", text="on")["status"] == "succeeded"
        stuck = setpoint(stack, "drain", "celld", "--timeout", "1")
        assert stuck.returncode == 6
        assert "celld cannot be emptied: no other cell host takes sessions" in stuck.stderr
        assert stack.tool(session, "echo", text="on")["status"] == "succeeded"
        assert setpoint(stack, "uncordon", "celld").returncode == 0
        warned = setpoint(stack, "cordon", "celld")
        assert (warned.returncode, "no other cell host takes sessions" in warned.stderr) == (0, True)
        assert "cordoned" in setpoint(stack, "ls").stdout
        assert setpoint(stack, "declare-dead", "sandboxd", "-m", "no").returncode == 5
        assert setpoint(stack, "cordon", "nobody").returncode == 4
        assert [event["type"] for event in stack.events(session)].count("lease.acquired") == 1
