"""What sessions survive when Postgres dies, is restarted, or only reads for a while: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import Any

import httpx
import pytest

from migrations import door
from tests.acceptance.harness import World, gapless, world
from tests.acceptance.projects import overlaps, runs
from tests.acceptance.test_survival import TTL, began, let_go, slow

ENDS = {f"command.{end}" for end in ("succeeded", "failed", "cancelled", "rejected", "quarantined")}


class Load:
    """A client that appends a line a command to a file, each command under a key of its own, until it is stopped.

    A command without an answer is asked for again under its key. ``acknowledged`` are the ids by key.
    """

    def __init__(self, stack: World, session: str) -> None:
        self._stack, self._session = stack, session
        self.acknowledged: dict[str, str] = {}
        self.refused: Counter[int] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def more(self, count: int = 5) -> None:
        """Wait until so many more commands have been acknowledged."""
        wanted = len(self.acknowledged) + count
        self._stack.until(lambda: len(self.acknowledged) >= wanted, f"{count} more commands are acknowledged")

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        number = 0
        while not self._stop.is_set():
            key = f"key-{number}"
            answer = self._post(key)
            if answer is None or answer.status_code != 202:
                self.refused[answer.status_code if answer is not None else 0] += 1
                self._stop.wait(0.1)
                continue
            self.acknowledged[key] = str(answer.json()["command_id"])
            number += 1
            self._stop.wait(0.05)

    def _post(self, key: str) -> httpx.Response | None:
        argv = ["sh", "-c", f"echo {key} >> did.log"]
        body: dict[str, Any] = {"type": "tool", "payload": {"name": "exec", "args": {"argv": argv}}}
        path = f"/v1/sessions/{self._session}/commands"
        try:
            return self._stack.api.http.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx.HTTPError:
            return None


def check(stack: World, session: str, load: Load) -> None:
    """Assert that all that was acknowledged was done once, and that the sync ran once."""
    load.stop()
    for command_id in load.acknowledged.values():
        assert stack.ended(session, command_id)["status"] == "succeeded"
    let_go(stack, session)
    stack.wait_ready(session)
    events = stack.events(session)
    assert gapless(events)
    ends = Counter(event["command_id"] for event in events if event["type"] in ENDS)
    assert set(ends.values()) == {1} and set(load.acknowledged.values()) <= ends.keys()
    did = Counter(stack.read(session, "did.log").split())
    assert set(did.values()) == {1} and load.acknowledged.keys() <= did.keys(), did
    recorder = stack.read(session, "recorder.log")
    assert len(runs(recorder, "slow")) == 1 and overlaps(recorder, "slow") == [], recorder


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_postgres_dies_under_load_and_comes_back(how: str) -> None:
    with world() as stack:
        cluster = stack.stack.cluster
        assert cluster is not None and cluster.pid is not None
        session = stack.session("database")
        stack.apply(session, slow())
        began(stack, session)
        load = Load(stack, session)
        try:
            load.more()
            if how == "kill":
                os.kill(cluster.pid, signal.SIGKILL)
                stack.until(lambda: cluster.pid is None, "Postgres is dead")
            else:
                stack.run(cluster.stop())
            stack.until(lambda: load.refused, "a command is refused")
            stack.run(cluster.start())
            load.more()
            assert load.refused.keys() <= {503}, load.refused
            assert stack.stack.daemons["celld"].pid is not None, "its lease outlived the outage"
            check(stack, session, load)
        finally:
            load.stop()


def test_postgres_that_only_reads_for_longer_than_a_lease_is_written_again_when_it_can_be() -> None:
    with world(extra={"celld": TTL}) as stack:
        session = stack.session("read-only")
        stack.apply(session, slow())
        began(stack, session)
        load = Load(stack, session)
        try:
            load.more()
            only_reads(stack, "on")
            stack.until(lambda: load.refused[503] > 3, "commands are refused")
            assert stack.api.session(session)["id"] == session, "reads go on"
            stack.until(lambda: stack.stack.daemons["celld"].pid is None, "the host ends with its lease")
            only_reads(stack, "off")
            load.more(1)
            stack.restart("celld")
            load.more()
            assert load.refused.keys() == {503}, load.refused
            check(stack, session, load)
        finally:
            load.stop()


def only_reads(stack: World, value: str) -> None:
    """Have Postgres refuse writes, as after a failover that made a standby of it, or take them again."""
    cluster = stack.stack.cluster
    assert cluster is not None

    async def change() -> None:
        async with door.connect(cluster.admin_dsn) as connection:
            await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            await connection.execute("SELECT pg_reload_conf()")

    stack.run(change())
