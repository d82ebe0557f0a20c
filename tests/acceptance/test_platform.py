"""The platform's three promises of the Nadi README, as a client sees them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
from pytest_bdd import given, parsers, scenarios, then, when

from tests.acceptance.harness import World, gapless, ps
from tests.acceptance.projects import asset, project

scenarios("features/platform.feature")


@given("a session", target_fixture="session")
def a_session(stack: World) -> str:
    return str(stack.api.create_session()["id"])


@when(parsers.parse('the tool "{name}" is run with the text "{text}"'), target_fixture="ended")
def run_tool(stack: World, session: str, name: str, text: str) -> dict[str, Any]:
    return stack.tool(session, name, text=text)


@then(parsers.re(r'the command succeeds with the output "(?P<output>[^"]*)"( or "(?P<other>[^"]*)")?'))
def succeeds(ended: dict[str, Any], output: str, other: str | None) -> None:
    assert ended["status"] == "succeeded"
    assert ended["result"]["output"] in (output, other or output)


@then("the log of the session holds the command from its acceptance to its end")
def is_recorded(stack: World, session: str, ended: dict[str, Any]) -> None:
    events = stack.events(session)
    mine = [event["type"] for event in events if event.get("command_id") == ended["command_id"]]
    assert mine[0] == "command.accepted"
    assert mine.count("command.succeeded") == 1
    assert gapless(events)


@then("the broker was never asked for anything but health")
def broker_is_not_in_the_path(stack: World) -> None:
    with httpx.Client(trust_env=False) as http:
        routes = http.get(f"http://127.0.0.1:{stack.stack.ports['broker']}/v1/sessions")
    assert routes.status_code in (401, 404)
    log = (stack.root / "logs" / "broker.log").read_text()
    assert "uppercase" not in log and "echo" not in log


@then("the result says that it was isolated")
def was_isolated(ended: dict[str, Any]) -> None:
    assert ended["result"]["enforced"]["isolation"] == "bwrap"


def test_the_calls_of_the_nadi_readme_work_with_curl(stack: World) -> None:
    key = ["-H", f"Authorization: Bearer {stack.stack.api_key}"]

    def curl(*words: str) -> Any:
        done = subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    base = stack.stack.server
    assert curl(f"{base}/healthz")["status"] == "ok"
    session = curl("-X", "POST", f"{base}/sessions", *key, "-d", '{"tenant_id":"dev"}')["id"]
    body = '{"type":"tool","payload":{"name":"uppercase","args":{"text":"nadi"}}}'
    command = curl("-X", "POST", f"{base}/sessions/{session}/commands", *key, "-d", body)
    assert stack.ended(session, command["command_id"])["result"]["output"] == "NADI"
    kinds = [event["type"] for event in curl(f"{base}/sessions/{session}/events", *key)["items"]]
    assert "command.succeeded" in kinds


def test_every_tier_is_a_process_of_its_own_and_a_step_has_namespaces_of_its_own(stack: World) -> None:
    session = stack.session("processes")
    accepted = stack.api.command(session, "tool", {"name": "exec", "args": {"argv": ["sleep", "30.125"]}})
    inside = stack.until(lambda: _pids_of("sleep 30.125"), "the sleep runs")
    shown = ps([stack.pid(name) for name in stack.stack.daemons])
    assert all(f"-m {name}" in shown for name in ("gateway", "broker", "celld", "sandboxd"))
    titles = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    assert "setpoint: zygote" in titles
    assert "setpoint: cell" in titles
    for kind in ("pid", "mnt", "net", "ipc", "uts", "user"):
        assert Path("/proc/self/ns", kind).readlink() != Path(f"/proc/{inside[0]}/ns", kind).readlink(), kind
    stack.api.command(session, "cancel", {"command_id": accepted["command_id"]})
    assert stack.ended(session, accepted["command_id"])["status"] == "cancelled"
    assert not _pids_of("sleep 30.125")


def _pids_of(words: str) -> list[int]:
    """Return the pids of processes whose arguments are exactly these words."""
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 1) for line in listed.splitlines()[1:]]
    return [int(row[0]) for row in rows if len(row) == 2 and row[1] == words]


def test_a_cell_is_rebuilt_from_the_log(stack: World) -> None:
    session = stack.session("rebuilt")
    stack.apply(session, project(asset("a"), asset("b", ["a"])))
    stack.wait_ready(session)
    before, head = stack.assets(session), len(stack.events(session))
    (cell,) = _cells_of(session)
    subprocess.run(["kill", "-9", str(cell)], check=True)
    stack.wait_type(session, "session.started", after=head)
    assert stack.tool(session, "echo", text="still here")["result"]["output"] == "still here"
    after = stack.assets(session)
    assert {name: doc["known"] for name, doc in before.items()} == {name: doc["known"] for name, doc in after.items()}
    assert stack.counts(session, "a", after=head) == (0, 0)
    assert gapless(stack.events(session))


def _cells_of(session: str) -> list[int]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if f"setpoint: cell {session}" in line]
