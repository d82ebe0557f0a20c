"""A running stack for black-box tests: real daemons and a real client, and the means to kill and freeze them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from setpoint.cli.project import upload
from setpoint.client.api import Client
from setpoint.client.sse import follow
from setpoint.local.stack import Stack, StackSettings
from tests.accounts import sandbox_uid_first
from tests.measured import measured

T = TypeVar("T")
WAIT_S = 45.0
_DAEMONS = tuple(
    f"{kind}{number}" for kind in ("gateway", "broker", "celld", "sandboxd") for number in ("", "-2", "-3")
)


class World:
    """One stack under test. Daemons are not restarted by themselves: a test says who dies and who comes back."""

    def __init__(self, **settings: Any) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="setpoint-test-"))
        self.said: list[str] = []
        (self.root / "marks").mkdir()
        given = settings.pop("extra", {})
        extra = {name: measured() | dict(given.get(name, {})) for name in (*_DAEMONS, *given)}
        chosen = StackSettings(
            self.root, 0, 0, 0, 0, supervise=False, sandbox_uid_first=sandbox_uid_first(), extra=extra, **settings
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.stack = Stack(chosen, self.said.append)
        try:
            self.run(self.stack.start())
        except BaseException:  # also an interrupt: what has been started runs on otherwise
            self._end()
            raise
        self.api = Client(self.stack.server, self.stack.api_key)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the stack's own loop and return its result."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=WAIT_S * 2)

    def close(self) -> None:
        """Stop everything and remove the directory."""
        self.api.close()
        self._end()

    def _end(self) -> None:
        try:
            self.run(self.stack.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
            self._loop.close()
            shutil.rmtree(self.root, ignore_errors=True)

    # Who dies and who comes back

    def pid(self, name: str) -> int:
        """Return the pid of a running daemon."""
        pid = self.stack.daemons[name].pid
        assert pid is not None, f"{name} does not run"
        return pid

    def kill(self, name: str) -> None:
        """Kill a daemon with SIGKILL and wait until it is gone."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: self.stack.daemons[name].pid is None, f"{name} dies")

    def restart(self, name: str, **environment: str) -> None:
        """Start a dead daemon again, with more or other environment, and wait until it is ready."""
        daemon = self.stack.daemons[name]
        daemon.environment.update(environment)
        self.run(daemon.start())
        self.run(self.stack.wait_ready(name))

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a daemon."""
        os.kill(self.pid(name), number)

    def until(self, holds: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
        """Wait until ``holds`` returns something true and return it; fail naming ``what`` when the time is over."""
        pause = threading.Event()
        pause_s, deadline = 0.02, time.monotonic() + within_s
        while time.monotonic() < deadline:
            value = holds()
            if value:
                return value
            pause.wait(pause_s)
            pause_s = min(pause_s * 1.2, 0.15)  # who asks costs what is asked its time
        raise AssertionError(f"waited {within_s:g} s in vain until {what}; logs: {self.tails()}")

    def mark(self, failpoint: str) -> Path:
        """Return the file that an acting failpoint leaves."""
        return self.root / "marks" / failpoint

    def failpoints(self, plan: str) -> dict[str, str]:
        """Return the environment that arms failpoints."""
        return {"SETPOINT_FAILPOINTS": plan, "SETPOINT_FAILPOINTS_DIR": str(self.root / "marks")}

    def tails(self, lines: int = 6) -> str:
        """Return the end of each daemon's log."""
        parts = []
        for path in sorted((self.root / "logs").glob("*.log")):
            words = path.read_text(errors="replace").strip().splitlines()[-lines:]
            parts.append(f"\n--- {path.name}\n" + "\n".join(words))
        return "".join(parts)

    # What a client does and sees

    def session(self, name: str) -> str:
        """Create a session and return its id."""
        return str(self.api.create_session(name)["id"])

    def apply(self, session: str, files: dict[str, str]) -> dict[str, Any]:
        """Apply a project given as text files and wait for the command's end."""
        content = {path: (text.encode(), 0o644) for path, text in files.items()}
        accepted = upload(self.api, session, content, evaluate=False)
        return self.ended(session, accepted["command_id"])

    def ended(self, session: str, command_id: str) -> dict[str, Any]:
        """Wait until a command has ended; return its state."""

        def state() -> dict[str, Any] | None:
            found = self.api.command_state(session, command_id)
            return None if found["status"] in ("queued", "accepted") else found

        result: dict[str, Any] = self.until(state, f"command {command_id} ends")
        return result

    def tool(self, session: str, name: str, **arguments: Any) -> dict[str, Any]:
        """Run a tool and return the command's final state."""
        accepted = self.api.command(session, "tool", {"name": name, "args": arguments})
        return self.ended(session, accepted["command_id"])

    def read(self, session: str, path: str) -> str:
        """Read a file of the session's workspace, empty when there is none."""
        state = self.tool(session, "exec", argv=["sh", "-c", 'test ! -e "$1" || cat "$1"', "read", path])
        return str(state["result"]["output"])

    def events(self, session: str, after: int = 0) -> list[dict[str, Any]]:
        """Return all events after a seq."""
        found: list[dict[str, Any]] = []
        while page := self.api.events_page(session, after):
            found += page
            after = int(page[-1]["seq"])
        return found

    def wait_event(
        self, session: str, matches: Callable[[dict[str, Any]], bool], after: int = 0, within_s: float = WAIT_S
    ) -> dict[str, Any]:
        """Follow the stream until an event matches; fail when it does not come."""
        deadline = time.monotonic() + within_s
        try:
            for event in follow(self.api, session, after, deadline_s=deadline):
                if matches(event):
                    return event
        except TimeoutError:
            pass
        seen = [(event["seq"], event["type"], event.get("asset")) for event in self.events(session, after)]
        raise AssertionError(f"the event did not come within {within_s:g} s; seen: {seen}; logs: {self.tails()}")

    def wait_type(self, session: str, kind: str, asset: str | None = None, after: int = 0) -> dict[str, Any]:
        """Wait for an event of this type (and asset)."""
        return self.wait_event(
            session, lambda event: event["type"] == kind and asset in (None, event.get("asset")), after
        )

    def assets(self, session: str) -> dict[str, dict[str, Any]]:
        """Return the projection of all assets by name."""
        return {asset["name"]: asset for asset in self.api.pages(f"/v1/sessions/{session}/assets")}

    def wait_ready(self, session: str, *names: str) -> None:
        """Wait until these assets (none named: all) are Ready with nothing pending or running."""
        from setpoint.cli.wait import is_settled

        def settled() -> bool:
            assets = self.assets(session)
            wanted = names or tuple(assets)
            return bool(assets) and all(name in assets and is_settled(assets[name]) for name in wanted)

        self.until(settled, f"{names or 'all assets'} are Ready: {json.dumps(self.assets(session))[:2000]}")

    def counts(self, session: str, asset: str, after: int = 0) -> tuple[int, int]:
        """Return (completed evaluations, started syncs) of an asset after a seq: what the scenarios count."""
        mine = [event["type"] for event in self.events(session, after) if event.get("asset") == asset]
        return mine.count("evaluation.completed"), mine.count("sync.started")


@contextmanager
def world(**settings: Any) -> Iterator[World]:
    """Run a stack for the length of a ``with`` block."""
    made = World(**settings)
    try:
        yield made
    finally:
        made.close()


def gapless(events: list[dict[str, Any]]) -> bool:
    """Tell whether the seqs are 1, 2, 3 and so on."""
    return [event["seq"] for event in events] == list(range(1, len(events) + 1))


def ps(pids: list[int]) -> str:
    """Return what ps says of some processes, whole lines: its width follows COLUMNS even into a pipe."""
    shown = ",".join(str(pid) for pid in pids)
    return subprocess.run(
        ["ps", "-ww", "-o", "pid,ppid,user,comm,args", "-p", shown], capture_output=True, text=True
    ).stdout
