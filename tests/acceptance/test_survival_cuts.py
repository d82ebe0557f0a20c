"""What a session survives when a host is cut off from one neighbour only, and when brokers or sandbox hosts are away.

Each test runs its own stack, with wires that it cuts between real processes, and looks at the log over REST and at a
recorder that the syncs themselves write.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from setpoint.client.api import Client
from setpoint.client.sse import follow
from tests.acceptance.harness import WAIT_S, World, gapless, world
from tests.acceptance.projects import asset, overlaps, project, runs
from tests.acceptance.test_survival import TTL, began, let_go, slow
from tests.wire import Wire, through

LONG = {"SETPOINT_LEASE_TTL": "60s"}
OTHER = {"celld": "celld-2", "celld-2": "celld"}


@contextlib.contextmanager
def wire(stack: World, port: int) -> Iterator[Wire]:
    """Lay a wire to a port of this machine, for daemons that are started again with ``port_of`` it."""
    laid = Wire(port=port)
    stack.run(laid.start())
    try:
        yield laid
    finally:
        stack.run(laid.stop())


def rewire_database(stack: World, name: str, wire: Wire) -> None:
    """Start a cell host again with its database behind a wire."""
    path = stack.root / "secrets" / f"{name}-wired.dsn"
    path.write_text(through((stack.root / "secrets" / "setpoint_celld.dsn").read_text().strip(), wire.port))
    stack.kill(name)
    stack.restart(name, SETPOINT_DATABASE_URL_FILE=str(path))


def on_loop(stack: World, call: Any, *args: Any) -> None:
    """Call a method of a wire on the loop it lives on."""

    async def called() -> None:
        call(*args)

    stack.run(called())


def owner(stack: World, session: str) -> str:
    return str(stack.api.session(session)["owner_host"])


def ended_once(stack: World, session: str, name: str = "slow") -> None:
    """Assert that a sync ran once, whatever happened around it, and that the log is whole."""
    stack.wait_ready(session)
    recorder = stack.read(session, "recorder.log")
    assert len(runs(recorder, name)) == 1 and overlaps(recorder, name) == [], recorder
    assert stack.counts(session, name)[1] == 1
    assert gapless(stack.events(session))


@pytest.mark.parametrize("how", ["stall", "cut"])
def test_a_cell_host_cut_from_postgres_only_is_replaced_and_its_sync_goes_on(how: str) -> None:
    with world(cell_hosts=2, extra={"celld": TTL, "celld-2": TTL}) as stack:
        cluster = stack.stack.cluster
        assert cluster is not None
        with wire(stack, cluster.port) as first, wire(stack, cluster.port) as second:
            wires = {"celld": first, "celld-2": second}
            for name, laid in wires.items():
                rewire_database(stack, name, laid)
            session = stack.session("no-postgres")
            stack.apply(session, slow())
            began(stack, session)
            cut = owner(stack, session)
            head = len(stack.events(session))
            on_loop(stack, getattr(wires[cut], how))
            taken = stack.wait_type(session, "lease.acquired", after=head)
            assert taken["data"]["host"] == OTHER[cut]
            stack.until(lambda: stack.stack.daemons[cut].pid is None, "the host that was cut off ends")
            on_loop(stack, wires[cut].heal)
            stack.restart(cut)
            let_go(stack, session)
            ended_once(stack, session)


def test_a_cell_host_cut_from_its_sandbox_host_only_finds_the_running_sync_again() -> None:
    with world(extra={"celld": TTL, "sandboxd": TTL}) as stack, wire(stack, stack.stack.ports["sandboxd"]) as laid:
        advertise(stack, "sandboxd", laid)
        session = stack.session("no-sandbox")
        stack.apply(session, slow())
        began(stack, session)
        on_loop(stack, laid.cut)
        command = stack.api.command(session, "halt", {"reason": "cut off, but in charge"})
        assert stack.ended(session, command["command_id"])["status"] == "succeeded"
        head = len(stack.events(session))
        stack.until(lambda: "link down" in log(stack, "celld"), "it sees that it is cut off")
        on_loop(stack, laid.heal)
        stack.wait_type(session, "run.adopted", "slow", after=head)
        let_go(stack, session)
        assert stack.ended(session, stack.api.command(session, "unhalt", {})["command_id"])["status"] == "succeeded"
        ended_once(stack, session)


def test_with_nothing_open_a_session_cut_from_its_sandbox_host_works_elsewhere() -> None:
    with world(sandbox_hosts=2, extra={"celld": TTL}) as stack:
        session = stack.session("elsewhere")
        stack.apply(session, project(asset("a")))
        stack.wait_ready(session)
        placed = placed_on(stack, session)
        with wire(stack, stack.stack.ports[placed]) as laid:
            advertise(stack, placed, laid)
            assert stack.tool(session, "echo", text="here")["status"] == "succeeded"
            on_loop(stack, laid.cut, [stack.pid("celld")])
            assert stack.tool(session, "echo", text="there")["status"] == "succeeded"
            last = [e["data"]["sandbox_host"] for e in stack.events(session) if e["type"] == "workspace.materialized"][
                -1
            ]
            assert last != placed
            stack.wait_ready(session)
            assert gapless(stack.events(session))


def test_a_cell_host_cut_from_the_brokers_only_keeps_its_sessions() -> None:
    extra = {"celld": TTL, "celld-2": TTL}
    with world(cell_hosts=2, extra=extra) as stack, wire(stack, stack.stack.ports["broker"]) as laid:
        for name in OTHER:
            stack.kill(name)
            stack.restart(name, SETPOINT_BROKERS=f"127.0.0.1:{laid.port}")
        session = stack.session("no-broker-here")
        stack.apply(session, project(asset("a", interval="1s")))
        stack.wait_ready(session)
        on_loop(stack, laid.cut)
        stack.until(lambda: "link down" in log(stack, owner(stack, session)), "it sees that it is cut off")
        head = len(stack.events(session))
        outlive(stack, session, head)
        types = [event["type"] for event in stack.events(session, head)]
        assert "lease.acquired" not in types, "a host that answers is not taken for dead"
        other = stack.session("made-without")
        stack.apply(other, project(asset("b")))
        stack.wait_ready(other)


def test_all_brokers_gone_for_longer_than_a_lease_sessions_go_on_and_a_dead_host_is_replaced() -> None:
    with world(cell_hosts=2, brokers=2, extra={"celld": TTL, "celld-2": TTL}) as stack:
        session = stack.session("no-brokers")
        stack.apply(session, project(asset("a", interval="1s")))
        stack.wait_ready(session)
        stack.kill("broker")
        stack.kill("broker-2")
        outlive(stack, session, len(stack.events(session)))
        gone = owner(stack, session)
        head = len(stack.events(session))
        stack.kill(gone)
        taken = stack.wait_type(session, "lease.acquired", after=head)
        assert taken["data"]["host"] == OTHER[gone]
        stack.tool(session, "exec", argv=["rm", "a.txt"])
        stack.wait_type(session, "sync.succeeded", "a", after=head)
        stack.wait_ready(session)
        assert gapless(stack.events(session))
        stack.restart("broker")
        stack.restart(gone)
        assert overlaps(stack.read(session, "recorder.log"), "a") == []


def test_of_two_brokers_one_is_enough_to_replace_a_killed_host_long_before_its_lease_is_over() -> None:
    with world(cell_hosts=2, brokers=2, extra={"celld": LONG, "celld-2": LONG}) as stack:
        session = stack.session("one-broker")
        stack.apply(session, slow())
        began(stack, session)
        gone, head = owner(stack, session), len(stack.events(session))
        stack.kill("broker")
        linked = f'"host": "{gone}", "role": "cell"'  # with the broker that is left, which then sees it go
        stack.until(lambda: linked in log(stack, "broker-2"), "the host is linked to the other broker")
        stack.kill(gone)
        taken = stack.wait_event(
            session, lambda event: event["type"] == "lease.acquired", after=head, within_s=20.0
        )  # a third of its lease
        assert taken["data"]["host"] == OTHER[gone]
        let_go(stack, session)
        ended_once(stack, session)


def test_a_sandbox_host_frozen_past_the_orphan_deadline_never_overlaps_with_its_successor() -> None:
    extra = {"celld": TTL, "sandboxd": TTL, "sandboxd-2": TTL}
    with world(sandbox_hosts=2, unsafe_no_isolation=True, extra=extra) as stack:
        recorder = stack.root / "recorder"
        recorder.touch()
        recorder.chmod(0o666)
        session = stack.session("frozen-sandbox")
        # It writes while it runs: whoever still runs after another has started is seen.
        body = f'while [ ! -e go ]; do echo "$SETPOINT_EXECUTION_ID" >> {recorder}; sleep 0.05; done'
        files = project(asset("a", sync=body)) | {"setpoint.yaml": "orphanTimeout: 11s\ncooldownInitialSecs: 1\n"}
        stack.apply(session, files)
        stack.wait_type(session, "sync.started", "a")
        stack.until(recorder.read_text, "the sync runs")
        placed = placed_on(stack, session)
        head = len(stack.events(session))
        stack.signal(placed, signal.SIGSTOP)
        stack.wait_type(session, "sync.outcome_unknown", "a", after=head)
        stack.wait_type(session, "sync.started", "a", after=head)
        stack.until(lambda: len(set(recorder.read_text().split())) == 2, "the next sync runs elsewhere")
        stack.signal(placed, signal.SIGCONT)
        let_go(stack, session)
        stack.wait_ready(session)
        wrote = recorder.read_text().split()
        changes = sum(1 for before, after in itertools.pairwise(wrote) if before != after)
        assert changes == 1, "the first one wrote after the second had begun"
        assert gapless(stack.events(session))


class Cut(Exception):
    """The stream was cut off: time to go elsewhere."""

    @staticmethod
    def note(text: str) -> None:
        raise Cut(text)


def test_a_gateway_is_killed_under_a_reader_who_goes_on_at_another() -> None:
    with world(gateways=2) as stack:
        session = stack.session("two-gateways")
        stack.apply(session, project(asset("a", interval="1s")))
        stack.wait_ready(session)
        seen: list[dict[str, Any]] = []
        with contextlib.suppress(Cut):
            for event in follow(stack.api, session, 0, deadline_s=time.monotonic() + WAIT_S, note=Cut.note):
                seen.append(event)
                if len(seen) == 5:
                    stack.kill("gateway")
        server = f"http://127.0.0.1:{stack.stack.ports['gateway-2']}"
        with contextlib.closing(Client(server, stack.stack.api_key)) as other:
            command = other.command(session, "halt", {"reason": "at the other"})
            for event in follow(other, session, int(seen[-1]["seq"]), deadline_s=time.monotonic() + WAIT_S):
                seen.append(event)
                if event.get("command_id") == command["command_id"] and event["type"] == "command.succeeded":
                    break
        assert gapless(seen), "each event once, in its order"


def placed_on(stack: World, session: str) -> str:
    """Return the sandbox host of a session's workspace."""
    found = [event["data"] for event in stack.events(session) if event["type"] == "workspace.materialized"]
    return str(found[-1]["sandbox_host"])


def advertise(stack: World, name: str, laid: Wire) -> None:
    """Start a sandbox host again under the address of a wire, and wait until cell hosts use it."""
    stack.kill(name)
    stack.restart(name, SETPOINT_ADVERTISE=f"127.0.0.1:{laid.port}")
    stack.until(lambda: laid.connections > 0, "a cell host is linked through the wire")


def outlive(stack: World, session: str, head: int) -> None:
    """Wait until timers have fired for longer than two leases."""
    begun = stack.wait_type(session, "evaluation.completed", "a", after=head)["seq"]
    for _ in range(7):  # once a second
        begun = stack.wait_type(session, "evaluation.completed", "a", after=begun)["seq"]


def log(stack: World, name: str) -> str:
    return (stack.root / "logs" / f"{name}.log").read_text()
