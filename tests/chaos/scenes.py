"""Directed schedules: each walks a stack to the one place where a rule of the design is all that keeps it sound.

``ablate`` plays them on the tree as it is, where nothing may be found, and on a copy without the rule, where the
checker must find it. They wait for conditions and never for luck.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Final

from migrations.door import connect
from tests.acceptance.harness import World
from tests.acceptance.projects import asset, project
from tests.chaos.collect import collect, rest
from tests.chaos.evidence import Evidence, Json
from tests.chaos.load import Tenant, clocked
from tests.chaos.run import Parts, wired

_ORPHAN_S: Final = 25
_SMALL: Final = {"gateways": 1, "brokers": 1, "cell_hosts": 2}
_START_BYTES: Final = 1_000
"""More than a clock reading or a keep-alive has, and less than a start."""


def late_start() -> list[Evidence]:
    """A start that was frozen before it was sent comes when its session has a new owner, who works on that host.

    The old owner is wrongly taken for dead, so its lease and its token live: only the epoch floor refuses it.
    """
    with wired(30.0, 60.0, sandbox_hosts=1, **_SMALL) as parts:
        stack, wires, _ = parts
        session = _frozen_before_send(parts, seconds=8.0)
        first = _last(stack, session, "sync.started")
        stack.restart("celld-2")
        wires.named["sandboxd"].hold()  # the new owner learns of the cancel before it learns what became of the run
        stack.api.command(session, "cancel", {"asset": "a"})
        _mark(stack, session)
        stack.wait_type(session, "command.accepted", after=first["seq"])
        wires.named["sandboxd"].release()
        stack.wait_type(session, "sync.cancelled", after=first["seq"])
        stack.api.command(session, "sync", {"select": ["a"]})
        second = stack.wait_type(session, "sync.started", after=first["seq"])
        stack.until(lambda: _at_work(parts, second), "the new owner's sync works")
        stack.signal("celld", signal.SIGCONT)
        log = stack.root / "logs" / "sandboxd.log"
        stack.until(lambda: "stale-epoch" in log.read_text() or _at_work(parts, first), "the late start is answered")
        return _settled(parts, session)


def late_delivery() -> list[Evidence]:
    """A start is under way for most of a lease while its sender dies and the new owner cannot reach that host.

    The new owner waits for the orphan deadline, counted from what it knows; so must the sandbox host.
    """
    with wired(30.0, 60.0, sandbox_hosts=2, **_SMALL) as parts:
        stack, wires, _ = parts
        session = _frozen_before_send(parts, seconds=27.0)
        frozen_s = time.monotonic()
        first = _last(stack, session, "sync.started")
        wire = wires.named[str(stack.api.session(session)["sandbox_host"])]
        wire.hold()
        stack.signal("celld", signal.SIGCONT)
        stack.until(lambda: wire.held_bytes() > _START_BYTES, "the start is under way")
        stack.kill("celld")
        stack.restart("celld-2")  # which never had a link to that host: nothing of it is held there
        stack.wait_type(session, "lease.acquired", after=first["seq"])
        # Long after the take-over, and well before the token in the start is too old.
        stack.until(lambda: time.monotonic() > frozen_s + 20.0, "the network was slow for long enough")
        wire.deliver()
        second = stack.wait_type(session, "sync.started", after=first["seq"])
        stack.until(lambda: _at_work(parts, second), "the sync works on another host")
        wire.release()
        return _settled(parts, session)


def late_renewal() -> list[Evidence]:
    """A cell host that was frozen past its lease, and lost its session, wakes up; then its successor dies.

    Only the mark on its incarnation keeps it from renewing, and from owning what was taken from it.
    """
    with wired(3.0, 60.0, sandbox_hosts=1, **_SMALL) as parts:
        stack = parts[0]
        stack.signal("celld-2", signal.SIGSTOP)
        session = stack.session("late-renewal")
        stack.apply(session, project(asset("a")))
        stack.wait_ready(session)
        first = _last(stack, session, "lease.acquired")
        stack.signal("celld-2", signal.SIGCONT)
        stack.signal("celld", signal.SIGSTOP)
        _alive(stack, "celld-2")
        taken = stack.wait_type(session, "lease.acquired", after=first["seq"])
        stack.signal("celld", signal.SIGCONT)
        daemon = stack.stack.daemons["celld"]
        renewed = "SELECT count(*) FROM setpoint.cell_hosts WHERE host_id = 'celld' AND lease_expires_at > now()"
        stack.until(lambda: daemon.pid is None or _ask(stack, renewed), "the old owner ends, or has its lease again")
        if daemon.pid is None:
            stack.restart("celld")
        stack.kill("celld-2")
        stack.wait_type(session, "lease.acquired", after=taken["seq"])
        stack.restart("celld-2")
        return _settled(parts, session)


def _frozen_before_send(parts: Parts, seconds: float) -> str:
    """Have ``celld`` own a session and freeze between the commit of a sync and the sending of its start."""
    stack = parts[0]
    stack.kill("celld-2")  # so that the first host takes the session
    stack.kill("celld")
    stack.restart("celld", **stack.failpoints("celld.run.before_send=stop@2"))
    session = stack.session("late")
    files = project(asset("a", sync=clocked("a", seconds))) | {"setpoint.yaml": "cooldownInitialSecs: 1\n"}
    files["resources/assets.yaml"] = files["resources/assets.yaml"].replace(
        "spec:\n  run:", f"spec:\n  orphanTimeout: {_ORPHAN_S}s\n  run:"
    )
    stack.apply(session, files)
    stack.until(stack.mark("celld.run.before_send").exists, "celld stops between commit and send")
    stack.stack.daemons["celld"].environment["SETPOINT_FAILPOINTS"] = ""
    return session


def _alive(stack: World, name: str) -> None:
    """Wait until a host that was frozen serves, whether it had to begin anew or not."""

    def serves() -> bool:
        if stack.stack.daemons[name].pid is None:
            stack.run(stack.stack.daemons[name].start())
        alive = f"SELECT count(*) FROM setpoint.cell_hosts WHERE host_id = '{name}' AND lease_expires_at > now()"
        return bool(_ask(stack, alive + " AND state = 'ready'"))

    stack.until(serves, f"{name} has its lease")


def _mark(stack: World, session: str) -> None:
    """Have the owner of a session taken for dead, which it is not."""
    lease = _last(stack, session, "lease.acquired")["data"]
    assert _ask(stack, f"SELECT setpoint.host_dead('{lease['host']}', '{lease['incarnation']}', true)") >= 0


def _ask(stack: World, question: str) -> int:
    """Ask the database behind everybody's back."""

    async def ask() -> int:
        assert stack.stack.cluster is not None
        async with connect(await stack.stack.cluster.ensure_database("setpoint")) as connection:
            return int(await connection.fetchval(question))

    return asyncio.run(ask())


def _last(stack: World, session: str, kind: str) -> Json:
    return next(event for event in reversed(stack.events(session)) if event["type"] == kind)


def _at_work(parts: Parts, started: Json) -> bool:
    """Tell whether a sync has written that it works."""
    return any(started["execution_id"] in text for text in parts[2].texts("beats.log"))


def _settled(parts: Parts, session: str) -> list[Evidence]:
    """Bring everybody back, wait for rest, and return what there is to judge; what does not rest is a failure."""
    stack, _, recorder = parts
    for name, daemon in stack.stack.daemons.items():
        if daemon.pid is None:
            stack.restart(name)
    late = rest(stack, session)
    assert not late, late
    client = Tenant([stack.stack.server], stack.stack.api_key, session, "nobody")
    try:
        return [collect(stack, recorder, client, [])]
    finally:
        client.close()


SCENES: Final[dict[str, Callable[[], list[Evidence]]]] = {
    "late-start": late_start,
    "late-delivery": late_delivery,
    "late-renewal": late_renewal,
}
"""Every directed schedule by its name."""
