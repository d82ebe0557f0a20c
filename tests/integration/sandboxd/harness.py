"""A real sandboxd process, and a cell host that speaks its frames, for the tests of this room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandboxd.jail.driver import marker
from sandboxd.jail.find import candidates
from sandboxd.jail.process import marked
from setpoint import runtime
from setpoint.contracts import codec, grant, run
from setpoint.identity import PROOF_HEADER
from setpoint.link import LinkClient
from setpoint.objects import DirectoryStore, blob_key
from tests.accounts import sandbox_uid_first
from tests.measured import measured

WAIT_S = 20.0
TENANT = "00000000-0000-4000-8000-00000000000a"
AS_NOBODY = """
import asyncio, os, sys, uvloop
import prometheus_client, sandboxd.__main__, concurrent.futures.thread, encodings.idna, websockets.asyncio.client
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
sys.argv = ["sandboxd"]
sandboxd.__main__.main()
"""
"""A program for ``Sandboxd.program``: the daemon as an ordinary user; all that it imports late is imported before."""


class Sandboxd:
    """One sandbox host with its state directory; it can be killed and started again."""

    def __init__(self, **environ: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="setpoint-sbx-"))
        self.root.chmod(0o711)  # sandboxes run under other accounts and pass through
        self.environ = environ
        self.python, self.program = sys.executable, ["-m", "sandboxd"]
        self.broker_key = Ed25519PrivateKey.generate()
        identity = self.root / "sandboxd" / "identity"
        identity.mkdir(parents=True)
        (identity / "broker-keys.json").write_text(json.dumps({"k1": grant.public_text(self.broker_key)}))
        self.store = DirectoryStore(self.root / "objects")
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.ledger_id = ""

    @property
    def log(self) -> str:
        """Return what the process has logged, over all its lives."""
        path = self.root / "log"
        return path.read_text() if path.exists() else ""

    @property
    def pid(self) -> int:
        """Return the pid of the running process."""
        assert self.process is not None
        return self.process.pid

    def start(self, *arguments: str, wait: bool = True, **environ: str) -> None:
        """Start the process and wait until it listens."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.root / "marks").mkdir(exist_ok=True)
        settings = {
            "PATH": "/usr/bin:/bin",
            "SECRET_OF_THE_DAEMON": "must not be seen",
            "SETPOINT_STATE_DIR": str(self.root),
            "SETPOINT_LISTEN": f"127.0.0.1:{self.port}",
            "SETPOINT_HOST_ID": "sbx",
            "SETPOINT_SANDBOX_UID_FIRST": str(sandbox_uid_first()),
            "SETPOINT_LOG_FORMAT": "json",
            "SETPOINT_FAILPOINTS_DIR": str(self.root / "marks"),
        }
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-P", *self.program, *arguments],
                env=measured() | settings | self.environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        if wait:
            process = self.process
            until(lambda: self.health() is not None or process.poll() is not None, "sandboxd listens")
            assert process.poll() is None, self.log
            self.ledger_id = str((self.health() or {})["ledger_id"])

    def health(self) -> dict[str, Any] | None:
        """Return what ``/healthz`` says, None while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
                return dict(json.load(answer))
        except OSError:
            return None

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=WAIT_S)

    def stop(self) -> int:
        """Stop the process with SIGTERM; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=WAIT_S)

    def close(self) -> None:
        """Kill the process and remove everything."""
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def mark(self, failpoint: str) -> Path:
        """Return the file an acting failpoint leaves."""
        return self.root / "marks" / failpoint

    def put(self, content: bytes, tenant: str = TENANT) -> str:
        """Store a blob; return its sha256."""
        sha256 = codec.sha256_hex(content)
        self.store.put(blob_key(tenant, sha256), content)
        return sha256

    def manifest(self, files: dict[str, bytes], tenant: str = TENANT) -> str:
        """Store a manifest and its blobs; return the manifest's sha256."""
        listed = [{"path": p, "mode": 0o644, "sha256": self.put(c, tenant)} for p, c in files.items()]
        return self.put(codec.canonical_json({"files": listed}), tenant)

    def workspaces(self) -> list[Path]:
        """Return the directories that sandboxes see as their workspaces."""
        return sorted((self.root / "sandboxd" / "ws").glob("*/files"))

    def processes(self) -> list[str]:
        """Return the command lines of all live processes of this host's sandboxes."""
        return [cmdline(pid) for pid in marked(marker(self.ledger_id))]


class Cell:
    """A cell host with a link to one sandboxd. ``session`` is fresh; ``epoch`` may be changed at will."""

    def __init__(self, host: Sandboxd, name: str = "cell-1") -> None:
        self.host, self.name, self.key = host, name, Ed25519PrivateKey.generate()
        self.role: Any = "cell"
        self.session, self.epoch, self.tenant = runtime.new_id(), (1, 1), TENANT
        self.place: Path | None = None
        self.pushed: list[run.StepDone | run.RunDone] = []
        self._moved, self._up = asyncio.Event(), asyncio.Event()
        self.link = LinkClient(
            url=lambda: f"ws://127.0.0.1:{host.port}/link",
            headers=self._headers,
            replies=run.Reply,
            on_push=self._on_push,
            on_up=self._up.set,
            on_down=self._up.clear,
        )

    def again(self) -> Cell:
        """Return this cell host as it would be after a lost link: same key, session and epoch, nothing pushed yet."""
        other = Cell(self.host, self.name)
        other.key, other.session, other.epoch, other.place = self.key, self.session, self.epoch, self.place
        return other

    def _headers(self) -> dict[str, str]:
        now = runtime.now_s()
        token = grant.sign_host_token(
            self.host.broker_key,
            "k1",
            host=self.name,
            role=self.role,
            host_key=grant.public_text(self.key),
            now_s=now,
        )
        proof = grant.sign_proof(self.key, host=self.name, audience="sbx", incarnation=runtime.new_id(), now_s=now)
        return {"Authorization": f"Bearer {token}", PROOF_HEADER: proof}

    def _on_push(self, frame: Any) -> None:
        self.pushed.append(frame)
        self._moved.set()

    async def up(self) -> None:
        """Wait until the link is connected."""
        async with asyncio.timeout(WAIT_S):
            await self._up.wait()

    def grant(self, **changes: Any) -> str:
        """Sign a grant for the own session and epoch, or with changes."""
        claims: dict[str, Any] = {
            "host": self.name,
            "sandbox_host": "sbx",
            "tenant": self.tenant,
            "session": self.session,
            "epoch": self.epoch,
            "now_s": runtime.now_s(),
        }
        return grant.sign_grant(self.key, **(claims | changes))

    async def ask(self, frame: Any) -> Any:
        """Send a request and return its answer."""
        return await self.link.request(frame, WAIT_S)

    async def token(self) -> run.ClockToken:
        """Read the host's clock."""
        answer: run.ClockIs = await self.ask(run.Clock(self.link.next_id()))
        return answer.token

    async def fence(self, epoch: run.Epoch | None = None) -> Any:
        """Fence the session, under a newer epoch when one is given."""
        self.epoch = epoch or self.epoch
        return await self.ask(run.Fence(self.link.next_id(), self.grant(), self.session, self.epoch))

    async def materialize(self, files: str = "", **changes: Any) -> Any:
        """Materialize a manifest in workspace 1."""
        fields: dict[str, Any] = {
            "id": self.link.next_id(),
            "grant": self.grant(),
            "token": await self.token(),
            "session": self.session,
            "epoch": self.epoch,
            "workspace_no": 1,
            "generation": 1,
            "files": files,
        }
        return await self.ask(run.Materialize(**(fields | changes)))

    def spec(self, *steps: run.Step, **changes: Any) -> run.RunSpec:
        """Return a run of these steps in workspace 1."""
        fields: dict[str, Any] = {
            "run_id": runtime.new_id(),
            "tenant": self.tenant,
            "session": self.session,
            "epoch": self.epoch,
            "seq": 1,
            "workspace_no": 1,
            "steps": steps,
        }
        return run.RunSpec(**(fields | changes))

    async def start(self, spec: run.RunSpec, token: run.ClockToken | None = None, text: str | None = None) -> Any:
        """Send a start."""
        frame = run.Start(self.link.next_id(), text or self.grant(), token or await self.token(), spec)
        return await self.ask(frame)

    async def attach(self, run_id: str, after: int = -1) -> Any:
        """Send an attach."""
        frame = run.Attach(self.link.next_id(), self.grant(), self.session, self.epoch, run_id, after)
        return await self.ask(frame)

    async def cancel(self, run_id: str) -> Any:
        """Send a cancel."""
        return await self.ask(run.Cancel(self.link.next_id(), self.grant(), self.session, self.epoch, run_id))

    async def output(self, run_id: str, step: int = 0, stream: Any = "stdout", offset: int = 0) -> Any:
        """Read a piece of output."""
        frame = run.ReadOutput(self.link.next_id(), self.grant(), self.session, run_id, step, stream, offset, 1 << 18)
        return await self.ask(frame)

    async def once(self, *argv: str, timeout_s: float = 30.0, **changes: Any) -> run.StepResult:
        """Run one tool step to its end and return its result."""
        spec = self.spec(tool(*argv, timeout_s=timeout_s), **changes)
        answer = await self.start(spec)
        assert isinstance(answer, run.Started), answer
        await self.done(spec.run_id)
        return self.results(spec.run_id)[0]

    async def says(self, script: str) -> str:
        """Run shell text and return what it wrote; it must succeed."""
        result = await self.once("sh", "-c", script)
        assert result.ok, result
        return result.stdout.tail

    async def done(self, run_id: str) -> run.RunDone:
        """Wait until a run is over."""
        async with asyncio.timeout(WAIT_S):
            while True:
                self._moved.clear()
                for frame in self.pushed:
                    if isinstance(frame, run.RunDone) and frame.run_id == run_id:
                        return frame
                await self._moved.wait()

    def results(self, run_id: str) -> list[run.StepResult]:
        """Return the results pushed for a run, in the order they came."""
        return [f.result for f in self.pushed if isinstance(f, run.StepDone) and f.run_id == run_id]

    async def exists(self, name: str) -> None:
        """Wait until a file exists in the session's workspace."""
        assert self.place is not None
        await eventually((self.place / name).exists, f"a step makes {name}")


@contextlib.asynccontextmanager
async def cell(host: Sandboxd, name: str = "cell-1", *, workspace: bool = True) -> AsyncIterator[Cell]:
    """Connect a cell host; with a workspace for its session unless told otherwise."""
    async with connected(Cell(host, name), workspace=workspace) as peer:
        yield peer


@contextlib.asynccontextmanager
async def connected(peer: Cell, *, workspace: bool = False) -> AsyncIterator[Cell]:
    """Connect a cell host that was connected before, for the same session."""
    host = peer.host
    task = asyncio.create_task(peer.link.run())
    try:
        await peer.up()
        if workspace:
            before = set(host.workspaces())
            assert isinstance(await peer.materialize(), run.Done)
            (peer.place,) = set(host.workspaces()) - before
        yield peer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def tool(*argv: str, timeout_s: float = 30.0, env: tuple[tuple[str, str], ...] = ()) -> run.Step:
    """Return a single tool step."""
    return run.Step(0, "tool", "tool", argv, timeout_s, env)


def until(holds: Any, what: str) -> None:
    """Look until something holds; fail when it does not within the bound."""
    pause, deadline = threading.Event(), time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        pause.wait(0.02)


async def eventually(holds: Any, what: str) -> None:
    """Look until something holds, while the loop goes on; fail when it does not within the bound."""
    await asyncio.to_thread(until, holds, what)


def cmdline(pid: int) -> str:
    """Return the words of a live process, empty when it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
    return words if runtime.process_start(pid) is not None else ""


def pids_of(words: str) -> list[int]:
    """Return the live processes whose command line is exactly these words."""
    return [pid for pid in _pids() if cmdline(pid) == words]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def copy_for_all(directory: Path) -> Path:
    """Return a copy of bubblewrap, with the libraries beside it, that every account can run."""
    program = next(iter(candidates(""))).resolve()
    home = program.parent.parent
    if not home.with_name(f"{home.name}.libs").is_dir():
        directory.mkdir()
        return Path(shutil.copy(program, directory / "bwrap"))
    for tree in (home, home.with_name(f"{home.name}.libs")):
        shutil.copytree(tree, directory / tree.name)
    return directory / program.relative_to(home.parent)
