"""Somebody follows a session at a terminal while the daemons behind it die: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tests.acceptance.harness import WAIT_S, World, world
from tests.acceptance.projects import asset, project, wait_for_file
from tests.measured import measured

TTL = {"SETPOINT_LEASE_TTL": "3s"}


class Following:
    """A ``setpoint`` command that follows something, and what it has printed so far."""

    def __init__(self, stack: World, *words: str) -> None:
        environment = {
            **measured(),
            "PATH": os.environ["PATH"],
            "HOME": str(stack.root),
            "LANG": "C.UTF-8",
            "SETPOINT_SERVER": stack.stack.server,
            "SETPOINT_API_KEY": stack.stack.api_key,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "setpoint.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.printed: list[str] = []
        self.noted: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.printed), (self.process.stderr, self.noted))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe: IO[str], into: list[str]) -> None:
        while line := pipe.readline():
            into.append(line.rstrip("\n"))

    def shows(self, stack: World, count: int) -> None:
        """Wait until it has printed that many lines."""
        stack.until(lambda: len(self.printed) >= count, f"{count} lines are shown: {self.printed}, {self.noted}")

    def ended(self) -> int:
        """Wait until it has ended by itself and return its exit code."""
        code = self.process.wait(timeout=WAIT_S)
        for reader in self._readers:
            reader.join(timeout=WAIT_S)
        return code


@contextmanager
def following(stack: World, *words: str) -> Iterator[Following]:
    """Follow for the length of the block."""
    found = Following(stack, *words)
    try:
        yield found
    finally:
        found.process.kill()
        found.ended()
        for pipe in (found.process.stdout, found.process.stderr):
            assert pipe is not None
            pipe.close()


def test_who_follows_events_sees_each_once_while_the_gateway_is_killed_and_comes_back() -> None:
    with world() as stack:
        one, other = stack.session("one"), stack.session("other")
        with (
            following(stack, "-o", "json", "events", "-f", "-s", "one") as single,
            following(stack, "-o", "json", "events", "-f", "-s", "one", "-s", "other") as both,
        ):
            for round_ in range(3):
                for session in (one, other):
                    assert stack.tool(session, "echo", text=f"round {round_}")["status"] == "succeeded"
                heads = {session: int(stack.api.session(session)["head_seq"]) for session in (one, other)}
                single.shows(stack, heads[one])
                both.shows(stack, sum(heads.values()))
                stack.kill("gateway")
                stack.restart("gateway")
            for session in (one, other):
                stack.ended(session, stack.api.command(session, "close", {})["command_id"])
            assert (single.ended(), both.ended()) == (0, 0)
        events = [json.loads(line) for line in both.printed]
        for session in (one, other):
            assert [event for event in events if event["session_id"] == session] == stack.events(session)
        assert [json.loads(line) for line in single.printed] == stack.events(one)
        assert any("resuming after" in line for line in single.noted)


def test_who_follows_output_sees_each_line_once_while_the_session_moves_to_another_host() -> None:
    sync = f"echo one; echo two; echo aside >&2; {wait_for_file('go')}; echo three"
    with world(cell_hosts=2, extra={"celld": TTL, "celld-2": TTL}) as stack:
        session = stack.session("moves")
        stack.apply(session, project(asset("slow", sync=sync)))
        stack.wait_type(session, "sync.started", "slow")
        with following(stack, "logs", "-f", "-s", "moves", "slow") as found:
            found.shows(stack, 2)
            stack.until(lambda: "aside" in found.noted, "and what it says on the side")
            owner = str(stack.api.session(session)["owner_host"])
            head = int(stack.api.session(session)["head_seq"])
            stack.kill("broker")
            stack.kill(owner)
            stack.wait_type(session, "lease.acquired", after=head)
            assert stack.tool(session, "exec", argv=["touch", "go"])["status"] == "succeeded"
            stack.wait_ready(session)
            found.shows(stack, 3)
            assert found.printed == ["one", "two", "three"]
            assert found.noted.count("aside") == 1
            assert found.process.poll() is None
