"""Clients of a chaos run: they post commands under keys, repeat what failed, follow the stream, and write it all down.

Their history is the one account that is not the system's own. A client gives up on nothing but a definite refusal.
"""

from __future__ import annotations

import random
import threading
import time

import httpx
import msgspec

from setpoint.client.api import Client, problem_of
from setpoint.client.sse import follow
from setpoint.contracts.problem import Problem
from tests.acceptance.projects import asset, project
from tests.chaos.evidence import Json, Post

UPSTREAMS = {"a": (), "b": ("a",), "c": ("b",), "d": ("a", "c")}
ASSETS = tuple(UPSTREAMS)
_SETTINGS = "cooldownInitialSecs: 1\ncooldownMaxSecs: 2\nmaxConsecutiveSyncFailures: 100000\n"
_GIVE_UP_S = 180.0
_BEAT_S = 0.25
_WEIGHTS = {
    "drift": 8,
    "sync": 2,
    "evaluate": 2,
    "mark": 6,
    "apply": 2,
    "cancel": 1,
    "cancel-last": 2,
    "suspend": 1,
    "resume": 4,
    "halt": 1,
    "unhalt": 14,
    "echo": 6,
}


def clocked(name: str, seconds: float) -> str:
    """Return shell text that works for so long and says every quarter of a second, by the clock, that it still does."""
    say = f'echo "$1 {name} $SETPOINT_EXECUTION_ID $(date +%s%N)" >> beats.log'
    beats = round(seconds / _BEAT_S)
    return (
        f"say() {{ {say}; }}; say start; n=0; "
        f"while [ $n -lt {beats} ]; do sleep {_BEAT_S}; say beat; n=$((n+1)); done; "
        f"sleep {seconds - beats * _BEAT_S:.2f}; say end"
    )


def chain(version: int, interval: str, sync_s: float = 0.2, size: int = len(ASSETS)) -> dict[str, bytes]:
    """Return a project of the first ``size`` assets; with an empty interval nothing looks at them by itself."""
    assets = [asset(name, UPSTREAMS[name], interval, sync=clocked(name, sync_s)) for name in ASSETS[:size]]
    files = project(*assets) | {"setpoint.yaml": _SETTINGS, "version.txt": f"{version}\n"}
    return {path: text.encode() for path, text in files.items()}


class Tenant:
    """One client of one session, over all gateways in turn. Not for several threads."""

    def __init__(self, servers: list[str], api_key: str, session: str, seed: str) -> None:
        self.session, self.seed = session, seed
        self._rng = random.Random(seed)
        self._gateways = [Client(server, api_key) for server in servers]
        self._pause = threading.Event()
        self.sync_s = self._rng.choice((0.5, 1.0, 2.0, 4.0))
        self.pause_s_max = 0.3
        self._no = 0
        self._turn = 0
        self.posts: list[Post] = []

    def close(self) -> None:
        """Close the connections."""
        for gateway in self._gateways:
            gateway.close()

    def work(self, stop: threading.Event) -> None:
        """Post commands until told to stop."""
        while not stop.wait(self._rng.uniform(0.05, self.pause_s_max)):
            self._one()

    def _one(self) -> None:
        name = self._rng.choice(ASSETS)
        self._no += 1
        match self._rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]:
            case "drift":
                self.post("drift", "tool", _exec("rm", "-f", f"{name}.txt"))
            case "sync":
                self.post("sync", "sync", {"select": [name]})
            case "evaluate":
                self.post("evaluate", "evaluate", {"select": [name] if self._rng.random() < 0.5 else []})
            case "mark":
                self.mark()
            case "echo":
                self.post("echo", "tool", {"name": "echo", "args": {"text": self.seed}})
            case "apply":
                self.apply(self._no, self._rng.choice(("3s", "5s", "8s")), self._rng.choice((4, 4, 4, 3, 2)))
            case "cancel":
                self.post("cancel", "cancel", {"asset": name})
            case "cancel-last" if self.posts and self.posts[-1].command_ids:
                self.post("cancel-last", "cancel", {"command_id": self.posts[-1].command_ids[0]})
            case "halt" | "unhalt" as word:
                self.post(word, word, {})
            case "suspend" | "resume" as word:
                self.post(word, word, {"select": [name]})
            case _:
                pass  # there is no last command yet

    def mark(self) -> None:
        """Have a tool leave this command's key in the workspace."""
        key = self._key("mark")
        self.post("mark", "tool", _exec("sh", "-c", f"echo {key} >> marks.log"))

    def create(self, name: str) -> str:
        """Create a session under one key, twice, and return the one id it has."""
        ids: set[str] = set()
        body = msgspec.json.encode({"name": name})
        headers = {"Idempotency-Key": f"create-{name}", "Content-Type": "application/json"}
        answers = 0
        deadline = time.monotonic() + _GIVE_UP_S
        while answers < 2 and time.monotonic() < deadline:
            answer = self._send("POST", "/v1/sessions", content=body, headers=headers)
            if answer is not None and answer.is_success:
                ids.add(str(answer.json()["id"]))
                answers += 1
            elif answer is not None and not problem_of(answer).kind.retry:
                raise AssertionError(f"session {name} was refused: {answer.status_code} {answer.text[:300]}")
            else:
                self._pause.wait(0.2)
        assert len(ids) == 1, f"one key made sessions {sorted(ids)}"
        return ids.pop()

    def calm(self) -> None:
        """Lift whatever this client stopped, and apply a last generation that nothing looks at by itself."""
        self.post("unhalt", "unhalt", {})
        self.apply(1_000_000, "", len(ASSETS))
        for name in ASSETS:
            self.post("resume", "resume", {"select": [name]})

    def apply(self, version: int, interval: str, size: int) -> str:
        """Apply the project; returns the command's id."""
        files = chain(version, interval, self.sync_s, size)
        manifest = [{"path": path, "mode": 0o644, "sha256": self._blob(content)} for path, content in files.items()]
        return self.post("apply", "apply", {"files": manifest})

    def post(self, word: str, kind: str, payload: Json) -> str:
        """Post one command until it is answered, sometimes once more after that; note it; return the command's id."""
        ids: list[str] = []
        key, failures, refused = self._key(word), 0, ""
        wanted = 2 if self._rng.random() < 0.15 else 1
        deadline = time.monotonic() + _GIVE_UP_S
        while len(ids) < wanted and not refused and time.monotonic() < deadline:
            answer = self._send(
                "POST",
                f"/v1/sessions/{self.session}/commands",
                content=msgspec.json.encode({"type": kind, "payload": payload}),
                headers={"Idempotency-Key": key, "Content-Type": "application/json"},
            )
            if answer is not None and answer.status_code == 202:
                ids.append(str(answer.json()["command_id"]))
            elif answer is not None and not problem_of(answer).kind.retry:
                refused = f"{answer.status_code} {answer.text[:300]}"
            else:
                failures += 1
                self._pause.wait(min(0.05 * failures, 0.5))
        self.posts.append(Post(key, kind, payload, tuple(ids), refused, failures))
        self._no += 1
        return ids[0] if ids else ""

    def _key(self, word: str) -> str:
        return f"{self.seed}-{self._no}-{word}"

    def _blob(self, content: bytes) -> str:
        deadline = time.monotonic() + _GIVE_UP_S
        while True:
            try:
                return self._gateway().put_blob(content)
            except Problem as problem:
                if not problem.kind.retry or time.monotonic() > deadline:
                    raise
                self._pause.wait(0.1)

    def _send(self, method: str, path: str, *, content: bytes, headers: dict[str, str]) -> httpx.Response | None:
        try:
            return self._gateway().http.request(method, path, content=content, headers=headers, timeout=10.0)
        except httpx.HTTPError:
            return None

    def _gateway(self) -> Client:
        self._turn += 1
        return self._gateways[self._turn % len(self._gateways)]


class Visitor:
    """One who creates sessions, has each do a little, and closes it, perhaps in the middle of its work."""

    def __init__(self, servers: list[str], api_key: str, seed: str) -> None:
        self._servers, self._api_key, self._seed = servers, api_key, seed
        self._rng = random.Random(seed)
        self.tenants: list[Tenant] = []

    def work(self, stop: threading.Event) -> None:
        """Visit session after session until told to stop; the last one is closed, too."""
        while not stop.wait(self._rng.uniform(0.5, 3.0)):
            name = f"{self._seed}-{len(self.tenants)}"
            tenant = Tenant(self._servers, self._api_key, "", name)
            tenant.session = tenant.create(name)
            self.tenants.append(tenant)
            tenant.apply(0, "2s", 2)
            for _ in range(self._rng.randint(0, 3)):
                tenant.mark()
                stop.wait(self._rng.uniform(0.0, 1.5))
            tenant.post("close", "close", {})
            tenant.close()


def _exec(*argv: str) -> Json:
    return {"name": "exec", "args": {"argv": list(argv)}}


class Follower:
    """One reader of a session's stream, which resumes after what it has seen, at one gateway after the other."""

    def __init__(self, servers: list[str], api_key: str, session: str) -> None:
        self._servers, self._api_key, self._session = servers, api_key, session
        self.seen: list[int] = []

    def work(self, stop: threading.Event) -> None:
        """Follow until told to stop; a connection lives at most a few seconds."""
        turn = 0
        while not stop.is_set():
            turn += 1
            with Client(self._servers[turn % len(self._servers)], self._api_key) as client:
                after = self.seen[-1] if self.seen else 0
                try:
                    for event in follow(client, self._session, after, deadline_s=time.monotonic() + 5.0):
                        self.seen.append(int(event["seq"]))
                        if stop.is_set():
                            return
                except TimeoutError:
                    continue
