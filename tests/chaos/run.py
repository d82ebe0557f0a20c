"""One run: a stack, load on it, faults, healing, quiet, and the evidence of it. ``__main__`` judges."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.acceptance.harness import World, world
from tests.chaos.collect import QUIET_S, collect, log_lines, rest
from tests.chaos.evidence import Evidence
from tests.chaos.load import Follower, Tenant, Visitor
from tests.chaos.nemesis import Nemesis, lay
from tests.chaos.recorder import Recorder
from tests.chaos.schedule import LEASE_TTL_S, schedule
from tests.chaos.tally import tally
from tests.chaos.wire import Wires

SIZE: Final = {"gateways": 2, "brokers": 2, "cell_hosts": 3, "sandbox_hosts": 2}
_SECONDS_PER_KILL_MAX: Final = 6.0
_CODE: Final = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
"""The daemons run the tree that this file is in, also when that is a patched copy."""
Parts = tuple[World, Wires, Recorder]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. ``failures``: sessions without rest at the end. ``rate``: commands acknowledged a second."""

    found: list[Evidence]
    failures: list[str]
    count: Counter[str]
    kills: int
    rate: float
    logs: dict[str, list[str]]


@contextmanager
def wired(ttl_s: float = LEASE_TTL_S, hibernate_s: float = 2.0, **size: int) -> Iterator[Parts]:
    """Run a stack with wires before the databases of its cell hosts and before its sandbox hosts, and a recorder."""
    terms = _CODE | {"SETPOINT_LEASE_TTL": f"{ttl_s:g}s", "SETPOINT_HIBERNATE_AFTER": f"{hibernate_s:g}s"}
    kinds = {"gateway": _CODE, "broker": _CODE, "celld": terms, "sandboxd": terms}
    extra = {f"{kind}{no}": given for kind, given in kinds.items() for no in ("", "-2", "-3")}
    with world(extra=extra, **(SIZE | size)) as stack:
        wires, recorder = Wires(), Recorder(stack.root)
        try:
            lay(stack.stack, wires)
            for name in (name for name in stack.stack.daemons if name.split("-")[0] in ("celld", "sandboxd")):
                stack.kill(name)
                stack.run(stack.stack.daemons[name].start())
            stack.run(stack.stack.wait_ready(*stack.stack.daemons))
            yield stack, wires, recorder
        finally:
            wires.release()
            for name in stack.stack.daemons:
                if stack.stack.daemons[name].pid is not None:
                    stack.signal(name, signal.SIGCONT)
            stack.run(stack.stack.stop())
            recorder.close()
            wires.close()


def one_run(parts: Parts, seed: int, kills: int, sessions: int, say: Callable[[str], None]) -> Result:
    """Load and kill, heal, wait for quiet, and return what there is to judge."""
    stack, wires, recorder = parts
    servers = [f"http://127.0.0.1:{port}" for name, port in stack.stack.ports.items() if name.startswith("gateway")]
    key = stack.stack.api_key
    ids = [stack.session(f"chaos-{seed}-{n}") for n in range(sessions)]
    tenants = [Tenant(servers, key, session, f"s{seed}-{n}") for n, session in enumerate(ids)]
    followers = [Follower(servers, key, session) for session in ids]
    visitor = Visitor(servers, key, f"v{seed}")
    for tenant in tenants:
        tenant.apply(0, "5s", 4)
    stop, stop_reading = threading.Event(), threading.Event()
    clients: list[Tenant | Visitor] = [*tenants, visitor]
    working = [threading.Thread(target=who.work, args=(stop,), daemon=True) for who in clients]
    reading = [threading.Thread(target=follower.work, args=(stop_reading,), daemon=True) for follower in followers]
    for thread in (*working, *reading):
        thread.start()
    nemesis = Nemesis(stack, wires, say)
    seconds = nemesis.run(schedule(seed, list(stack.stack.daemons)), kills, kills * _SECONDS_PER_KILL_MAX)
    stop.set()
    acknowledged = sum(bool(post.command_ids) for tenant in tenants for post in tenant.posts)
    nemesis.heal()
    say("healed")
    for thread in working:
        thread.join(timeout=QUIET_S)
    for tenant in tenants:
        tenant.calm()
    failures = [failure for tenant in tenants if (failure := rest(stack, tenant.session))]
    failures += [failure for tenant in visitor.tenants if (failure := rest(stack, tenant.session, closed=True))]
    found = [collect(stack, recorder, tenant, who.seen) for tenant, who in zip(tenants, followers, strict=True)]
    found += [collect(stack, recorder, tenant, []) for tenant in visitor.tenants]
    stop_reading.set()
    for tenant in tenants:
        tenant.close()
    _tell(nemesis, seconds, say)
    logs = log_lines(stack.root / "logs")
    return Result(found, failures, tally(found, logs), nemesis.kills, acknowledged / seconds, logs)


def _tell(nemesis: Nemesis, seconds: float, say: Callable[[str], None]) -> None:
    say(f"faults in {seconds:.0f} s: {json.dumps(dict(sorted(nemesis.done.items())))}")
    say(f"failpoints that acted: {json.dumps(dict(sorted(nemesis.trapped.items())))}")
    for line in nemesis.died_by_itself:
        say(f"died by itself: {line}")
