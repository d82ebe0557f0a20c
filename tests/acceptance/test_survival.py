"""What a session survives: brokers, cell hosts and sandbox hosts that die or freeze in the worst moment.

Each test runs its own stack, kills real processes, and looks at three independent things: the log over REST, the
projection, and a recorder file that the syncs themselves write.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.acceptance.harness import World, gapless, world
from tests.acceptance.projects import asset, overlaps, project, runs, wait_for_file
from tests.integration.celld.harness import titles

TTL = {"SETPOINT_LEASE_TTL": "3s"}


def slow(name: str = "slow") -> dict[str, str]:
    """Return a project of one asset whose sync goes on until the test lets it."""
    return project(asset(name, sync=f"touch {name}.began; {wait_for_file('go')}"))


def began(stack: World, session: str, name: str = "slow") -> dict[str, Any]:
    """Wait until the sync's own first command has run."""
    event = stack.wait_type(session, "sync.started", name)
    workspaces = stack.root.rglob(f"{name}.began")
    stack.until(lambda: any(True for _ in workspaces) or any(stack.root.rglob(f"{name}.began")), "the sync runs")
    return event


def let_go(stack: World, session: str) -> None:
    """Let slow syncs end."""
    assert stack.tool(session, "exec", argv=["touch", "go"])["status"] == "succeeded"


def test_with_the_broker_dead_a_new_session_is_created_applied_and_converges() -> None:
    with world() as stack:
        stack.kill("broker")
        session = stack.session("no-broker")
        assert stack.apply(session, project(asset("a"), asset("b", ["a"])))["status"] == "succeeded"
        stack.wait_ready(session)
        assert gapless(stack.events(session))


def test_broker_and_cell_host_killed_in_mid_sync_the_session_goes_on_elsewhere_and_the_sync_runs_once() -> None:
    with world(cell_hosts=2, extra={"celld": TTL, "celld-2": TTL}) as stack:
        session = stack.session("moves")
        stack.apply(session, slow())
        began(stack, session)
        owner = str(stack.api.session(session)["owner_host"])
        other = {"celld": "celld-2", "celld-2": "celld"}[owner]
        head = len(stack.events(session))
        stack.kill("broker")
        stack.kill(owner)
        taken = stack.wait_type(session, "lease.acquired", after=head)
        assert taken["data"]["host"] == other
        let_go(stack, session)
        stack.wait_ready(session)
        events = stack.events(session)
        recorder = stack.read(session, "recorder.log")
        assert gapless(events)
        assert len(runs(recorder, "slow")) == 1, recorder
        assert stack.counts(session, "slow")[1] == 1
        assert "run.adopted" in [event["type"] for event in events]


def test_sandbox_host_killed_in_mid_run_is_interrupted_never_overlaps_and_converges() -> None:
    with world() as stack:
        session = stack.session("interrupted")
        stack.apply(session, slow() | {"setpoint.yaml": "cooldownInitialSecs: 1\n"})
        began(stack, session)
        stack.kill("sandboxd")
        stack.restart("sandboxd")
        stack.wait_type(session, "run.interrupted")
        stack.wait_type(session, "sync.outcome_unknown", "slow")
        let_go(stack, session)
        stack.wait_ready(session)
        recorder = stack.read(session, "recorder.log")
        lines = [line for line in recorder.splitlines() if " slow " in line]
        assert len(set(runs(recorder, "slow"))) == 2, recorder
        assert lines[-1].startswith("end"), recorder
        assert [line.split()[0] for line in lines] == ["start", "start", "end"], recorder
        assert overlaps("\n".join(lines[1:]), "slow") == []


def test_never_seen_after_a_kill_between_commit_and_start_the_run_starts_once() -> None:
    with world() as stack:
        stack.kill("celld")
        stack.restart("celld", **stack.failpoints("celld.run.before_send=kill@2"), **TTL)
        session = stack.session("never-seen")
        stack.apply(session, project(asset("a")))
        stack.until(lambda: stack.stack.daemons["celld"].pid is None, "the failpoint kills celld")
        assert [event["type"] for event in stack.events(session)].count("sync.started") == 1
        stack.restart("celld", SETPOINT_FAILPOINTS="")
        stack.wait_ready(session)
        recorder = stack.read(session, "recorder.log")
        assert len(runs(recorder, "a")) == 1, recorder
        assert stack.counts(session, "a")[1] == 1
        assert gapless(stack.events(session))


def test_a_start_with_an_old_clock_token_is_refused_on_a_host_that_never_saw_the_new_epoch() -> None:
    with world(cell_hosts=2, extra={"celld": TTL, "celld-2": TTL, "sandboxd": TTL}) as stack:
        stack.signal("celld-2", signal.SIGSTOP)  # so that the first host takes the session
        stack.kill("celld")
        stack.restart("celld", **stack.failpoints("celld.run.before_send=stop@2"), **TTL)
        session = stack.session("old-token")
        stack.apply(session, project(asset("a")))
        stack.until(stack.mark("celld.run.before_send").exists, "celld stops between commit and send")
        assert stack.counts(session, "a")[1] == 1
        head = len(stack.events(session))
        # The second host takes over and is frozen before it can fence the sandbox host.
        stack.kill("celld-2")
        # Its own lease is long: it must still have it when it wakes up.
        stack.restart("celld-2", **stack.failpoints("celld.acquire.after=stop"), SETPOINT_LEASE_TTL="60s")
        stack.wait_type(session, "lease.acquired", after=head)
        stack.until(stack.mark("celld.acquire.after").exists, "the second host is frozen after its acquire")
        # The second host could acquire only after the first one's lease was over: the token is too old by now.
        stack.signal("celld", signal.SIGCONT)
        log = stack.root / "logs" / "sandboxd.log"
        stack.until(lambda: "stale-token" in log.read_text(), "the sandbox host refuses the start")
        stack.kill("celld-2")  # it never fenced the sandbox host; its next life goes on from the log
        stack.restart("celld-2", SETPOINT_FAILPOINTS="")
        stack.wait_ready(session)
        recorder = stack.read(session, "recorder.log")
        assert len(runs(recorder, "a")) == 1, recorder
        assert overlaps(recorder, "a") == []
        assert gapless(stack.events(session))


def test_two_syncs_of_one_asset_without_a_command_are_two_runs(stack: World) -> None:
    session = stack.session("two-runs")
    stack.apply(session, project(asset("a", interval="1s")))
    stack.wait_ready(session)
    head = len(stack.events(session))
    stack.tool(session, "exec", argv=["rm", "a.txt"])
    stack.wait_type(session, "sync.succeeded", "a", after=head)
    stack.wait_ready(session)
    recorder = stack.read(session, "recorder.log")
    assert len(set(runs(recorder, "a"))) == 2, recorder
    started = [e for e in stack.events(session) if e["type"] == "sync.started"]
    assert len({event["execution_id"] for event in started}) == 2
    assert all("command_id" not in event for event in started)


def test_a_cancel_that_ends_before_its_sync_leaves_the_session_with_its_owner(stack: World) -> None:
    session = stack.session("cancelled")
    stack.apply(session, slow())
    began(stack, session)
    cancel = stack.api.command(session, "cancel", {"asset": "slow"})
    assert stack.ended(session, cancel["command_id"])["status"] == "succeeded"
    stack.wait_type(session, "sync.cancelled", "slow")
    events = stack.events(session)
    assert [event["type"] for event in events].count("lease.acquired") == 1
    assert stack.tool(session, "echo", text="mine")["status"] == "succeeded"


def test_a_command_key_replayed_after_its_completion_has_one_effect_and_the_first_answer(stack: World) -> None:
    session = stack.session("replayed")
    body = {"type": "tool", "payload": {"name": "exec", "args": {"argv": ["sh", "-c", "echo x >> once.log"]}}}
    path = f"/v1/sessions/{session}/commands"
    first = stack.api.http.post(path, json=body, headers={"Idempotency-Key": "one"})
    stack.ended(session, first.json()["command_id"])
    again = stack.api.http.post(path, json=body, headers={"Idempotency-Key": "one"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["command_id"] == first.json()["command_id"]
    assert stack.read(session, "once.log") == "x\n"
    other = stack.api.http.post(
        path, json=body | {"type": "evaluate", "payload": {}}, headers={"Idempotency-Key": "one"}
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")


def test_a_session_whose_cells_keep_dying_fails_and_is_recovered_by_a_command(stack: World) -> None:
    session = stack.session("dies-often")
    assert stack.tool(session, "echo", text="well")["status"] == "succeeded"
    killed: set[int] = set()

    def failed() -> bool:
        # An idle cell is killed each time it comes back: no input is to blame.
        found = {pid for pid, (_, title) in titles().items() if title == f"setpoint: cell {session}"} - killed
        for pid in found:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return any(event["type"] == "session.failed" for event in stack.events(session))

    stack.until(failed, "the session fails")
    queued = stack.api.command(session, "tool", {"name": "echo", "args": {"text": "queued"}})
    recover = stack.api.command(session, "recover", {"reason": "nobody kills it any more"})
    assert stack.ended(session, recover["command_id"])["status"] == "succeeded"
    assert stack.ended(session, queued["command_id"])["status"] == "succeeded"
    events = stack.events(session)
    (recovered,) = [event for event in events if event["type"] == "session.recovered"]
    assert recovered["data"]["reason"] == "nobody kills it any more"
    assert gapless(events)
    again = stack.api.command(session, "recover", {"reason": "once more"})
    assert stack.ended(session, again["command_id"])["status"] == "rejected"
