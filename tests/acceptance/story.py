"""A story: one session of a feature's scenario, what its project says, and where counting began.

Black box: everything goes through the client's API; what is waited for is seen in the event stream or the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from setpoint.cli.project import upload
from setpoint.contracts.resource.model import StageName
from tests.acceptance.harness import WAIT_S, World
from tests.acceptance.made import Made, manifests, mark
from tests.acceptance.projects import runs

Event = dict[str, Any]


class Story:
    """A scenario's session. Events are counted from ``since`` on: the seq at which the Given ended.

    ``last`` is how the last command ended, ``sent`` the commands that nobody waited for;
    ``killed_at`` is the seq at which something was killed.
    """

    def __init__(self, stack: World) -> None:
        self.stack = stack
        self.assets: dict[str, Made] = {}
        self.settings: dict[str, Any] = {}
        self.files: dict[str, tuple[bytes, int]] = {}
        self.since = 0
        self.applied = False
        self.last: dict[str, Any] = {}
        self.sent: list[str] = []
        self.killed_at = 0
        self.session = str(stack.api.create_session()["id"])

    def close(self) -> None:
        """End the session, so that it costs the next scenario nothing."""
        self.stack.api.command(self.session, "close", {})

    # The project

    def project(self) -> dict[str, tuple[bytes, int]]:
        """Return the project's files: path to content and mode."""
        made = list(self.assets.values())
        settings = "".join(f"{key}: {value}\n" for key, value in self.settings.items()) or "{}\n"
        found = {
            "setpoint.yaml": (settings.encode(), 0o644),
            "resources/assets.yaml": (manifests(made).encode(), 0o644),
        }
        for asset in made:
            found |= asset.files()
        return found | self.files

    def put(self, path: str) -> None:
        """Let a file be there: in the project while it is not applied, else in the workspace."""
        if self.applied:
            self.exec("touch", path)
        else:
            self.files[path] = (b"there\n", 0o644)

    def take(self, path: str) -> None:
        """Let a file be gone, also from what is applied next."""
        self.files.pop(path, None)
        self.exec("rm", "-f", path)

    def steer(self, what: str, name: str) -> None:
        """Have the syncs of an asset wait, fail, do nothing or undo (made.py)."""
        self.put(mark(what, name))

    def let(self, what: str, name: str) -> None:
        """Take a mark away again."""
        self.take(mark(what, name))

    # What a client does

    def apply(self) -> None:
        """Apply the project and wait until it is applied."""
        accepted = upload(self.stack.api, self.session, self.project(), evaluate=False)
        ended = self.stack.ended(self.session, accepted["command_id"])
        assert ended["status"] == "succeeded", ended
        self.applied = True

    def send(self, kind: str, **payload: Any) -> str:
        """Send a command; return its id at once."""
        return str(self.stack.api.command(self.session, kind, payload)["command_id"])

    def command(self, kind: str, **payload: Any) -> dict[str, Any]:
        """Send a command, wait for its end, and return its state."""
        self.last = self.stack.ended(self.session, self.send(kind, **payload))
        return self.last

    def sync(self, name: str, *stages: StageName) -> dict[str, Any]:
        """Sync what a selector names, by hand."""
        return self.command("sync", select=[name], **({"stages": list(stages)} if stages else {}))

    def exec(self, *argv: str) -> str:
        """Run a program in the session's workspace, which must end well; return what it printed."""
        ended = self.stack.tool(self.session, "exec", argv=list(argv))
        assert ended["status"] == "succeeded", ended
        return str(ended["result"]["output"])

    # What a client sees

    def begin(self) -> None:
        """Count from here on."""
        self.since = int(self.stack.api.session(self.session)["head_seq"])

    def events(self, kind: str = "", name: str = "") -> list[Event]:
        """Return what happened since counting began, of a type and of an asset where these are given."""
        return [
            event
            for event in self.stack.events(self.session, self.since)
            if kind in ("", event["type"]) and name in ("", event.get("asset"))
        ]

    def wait(self, kind: str, name: str, times: int = 1, within_s: float = WAIT_S, **having: Any) -> Event:
        """Wait until an event of an asset has happened so many times since counting began; return the last of them.

        ``having``: only those with this in their payload.
        """
        seen: list[Event] = []

        def matches(event: Event) -> bool:
            if (event["type"], event.get("asset")) == (kind, name) and having.items() <= event["data"].items():
                seen.append(event)
            return len(seen) == times

        return self.stack.wait_event(self.session, matches, self.since, within_s)

    def asset(self, name: str) -> dict[str, Any]:
        """Return an asset as the API shows it."""
        return self.stack.api.call("GET", f"/v1/sessions/{self.session}/assets/{name}")

    def until(self, name: str, holds: Callable[[Mapping[str, Any]], Any], what: str) -> dict[str, Any]:
        """Wait until something holds of an asset as the API shows it, and return the asset."""

        def found() -> dict[str, Any] | None:
            asset = self.asset(name)
            return asset if holds(asset) else None

        result: dict[str, Any] = self.stack.until(found, f"{name} {what}")
        return result

    def reasons(self, name: str) -> list[dict[str, Any]]:
        """Return the answer to why an asset is as it is."""
        path = f"/v1/sessions/{self.session}/assets/{name}/explanation"
        return list(self.stack.api.call("GET", path)["reasons"])

    def recorder(self) -> str:
        """Return what the syncs themselves wrote down."""
        return self.exec("sh", "-c", "test ! -e recorder.log || cat recorder.log")

    def check_recorder(self) -> None:
        """Compare the log with the recorder: each sync that has started ran once, in this order, and no other did."""
        recorder = self.recorder()
        log = [event for event in self.stack.events(self.session) if event["type"] == "sync.started"]
        for name in self.assets:
            logged = [event["execution_id"] for event in log if event["asset"] == name and _runs(event)]
            assert runs(recorder, name) == logged, (name, logged, recorder)


def _runs(event: Event) -> bool:
    return any(step["kind"] == "stage" and step["name"] == "run" for step in event["data"]["steps"])
