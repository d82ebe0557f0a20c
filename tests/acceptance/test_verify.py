"""``setpoint verify`` against a session of a running stack: sound while it works, and after its log was damaged."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from migrations.door import connect
from tests.acceptance.harness import World, world
from tests.acceptance.projects import asset, project
from tests.measured import measured


def verify(stack: World, session: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user of the stack."""
    environment = {
        **measured(),
        "PATH": "/usr/bin:/bin",
        "HOME": str(stack.root),
        "SETPOINT_SERVER": stack.stack.server,
        "SETPOINT_API_KEY": stack.stack.api_key,
    }
    command = [sys.executable, "-P", "-m", "setpoint.cli", "verify", session, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


async def damage(stack: World, statement: str, session: str) -> None:
    """Change the tables as their owner, behind the back of every function."""
    assert stack.stack.cluster is not None
    async with connect(await stack.stack.cluster.ensure_database("setpoint")) as connection:
        await connection.execute(statement, session)


def test_verify_passes_a_session_that_was_taken_over_and_names_what_was_damaged() -> None:
    with world() as stack:
        session = stack.session("verified")
        stack.apply(session, project(asset("a", sync="sleep 1"), asset("b", ["a"])))
        stack.kill("celld")
        stack.restart("celld")
        stack.wait_ready(session)
        sound = verify(stack, "verified")
        assert (sound.returncode, sound.stdout) == (0, ""), sound.stdout
        assert "nothing is wrong" in sound.stderr
        ends = [event for event in stack.events(session) if event["type"] == "sync.succeeded"]
        lost, seq = "DELETE FROM setpoint.events WHERE session_id = $1 AND type = 'sync.succeeded'", ends[0]["seq"]
        asyncio.run(damage(stack, lost, session))
        found = verify(stack, "verified")
        assert found.returncode == 1
        assert found.stdout.splitlines()[0].startswith(f"seq {seq + 1} gaps: "), found.stdout
        told = json.loads(verify(stack, "verified", "-o", "json").stdout)
        assert {one["rule"] for one in told["findings"]} == {"gaps"}
        assert told["session_id"] == session


def test_verify_of_a_session_that_does_not_exist_is_exit_4() -> None:
    with world() as stack:
        assert verify(stack, "nobody").returncode == 4
