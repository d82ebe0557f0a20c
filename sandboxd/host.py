"""The sandbox host: what becomes of each request of a link, in the order of the frames' own rules.

``app`` hands every frame here. For each: authority first, then the floor, then the request; the ledger is written
before anything is done. Expected refusals are answered; anything else ends the process, whose successor knows from
the ledger what it left.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_never
from weakref import WeakValueDictionary

import prometheus_client

from sandboxd.authority import Authority
from sandboxd.core import admit, plan
from sandboxd.ledger import (
    StaleEpoch,
    StoredRun,
    UidsUsedUp,
    UnknownRun,
    UnknownWorkspace,
    WrongTenant,
)
from sandboxd.ledger_thread import LedgerThread
from sandboxd.runner import Run, Runner
from sandboxd.spool import Spool
from sandboxd.workspace import ManifestRefused
from sandboxd.workspaces import Workspaces
from setpoint import failpoints, runtime
from setpoint.contracts import limits, run
from setpoint.contracts.grant import TokenRefused
from setpoint.objects import ObjectMissing
from setpoint.web import Peer

REFUSED = prometheus_client.Counter("setpoint_sandbox_refused", "Requests refused, by code", ["code"])


class Refusal(Exception):
    """A request that is not carried out: one of the codes of ``run.Refused``, and whether it may pass later."""

    def __init__(self, code: str, detail: str, *, retry: bool = False) -> None:
        super().__init__(detail)
        self.code, self.detail, self.retry = code, detail, retry


@dataclass(frozen=True, slots=True)
class Self:
    """What clock tokens of this host are bound to."""

    boot_id: str
    ledger_id: str
    incarnation: str

    def token(self) -> run.ClockToken:
        """Read the clock."""
        return run.ClockToken(self.boot_id, self.ledger_id, self.incarnation, runtime.boottime_s())


class SandboxHost:
    """Performs requests. ``draining`` refuses new work while the process goes away."""

    def __init__(
        self,
        me: Self,
        authority: Authority,
        ledger: LedgerThread,
        runner: Runner,
        workspaces: Workspaces,
        spool: Spool,
        tasks: asyncio.TaskGroup,
        *,
        runs_max: int,
        lease_ttl_s: float,
    ) -> None:
        self.me, self._authority, self._ledger, self._runner = me, authority, ledger, runner
        self._workspaces, self._spool, self._tasks = workspaces, spool, tasks
        self._runs_max, self._lease_ttl_s = runs_max, lease_ttl_s
        self._starting: Counter[str] = Counter()
        self._sessions: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.draining = False

    async def on_frame(self, peer: Peer, frame: Any) -> None:
        """Take one frame of a link; what takes longer goes on in a task, so that no request waits for another."""
        match frame:
            case run.Clock():
                peer.send(run.ClockIs(frame.id, self.me.token()))
            case run.KeepAlive():
                self._keep_alive(peer, frame)
            case _:
                self._tasks.create_task(self._answer(peer, frame))

    async def _answer(self, peer: Peer, frame: Any) -> None:
        try:
            await self._perform(peer, frame)
        except Refusal as refusal:
            self._refuse(peer, frame, refusal)
        except TokenRefused as error:
            self._refuse(peer, frame, Refusal("bad-grant", str(error)))
        except WrongTenant as error:
            self._refuse(peer, frame, Refusal("bad-grant", str(error)))
        except StaleEpoch as error:
            self._refuse(peer, frame, Refusal("stale-epoch", str(error)))
        except UnknownRun as error:
            self._refuse(peer, frame, Refusal("unknown-run", str(error)))
        except UnknownWorkspace as error:
            self._refuse(peer, frame, Refusal("unknown-workspace", str(error)))
        except ObjectMissing as error:
            self._refuse(peer, frame, Refusal("missing-object", str(error)))
        except ManifestRefused as error:
            self._refuse(peer, frame, Refusal("invalid", str(error)))
        except UidsUsedUp as error:
            self._refuse(peer, frame, Refusal("no-capacity", str(error)))

    def _refuse(self, peer: Peer, frame: Any, refusal: Refusal) -> None:
        REFUSED.labels(refusal.code).inc()
        session = frame.spec.session if isinstance(frame, run.Start) else frame.session
        asked = type(frame).__name__.lower()
        runtime.log().warning("refused", code=refusal.code, request=asked, session=session, detail=refusal.detail)
        peer.send(run.Refused(frame.id, refusal.code, refusal.detail, refusal.retry))

    async def _perform(self, peer: Peer, frame: run.Request) -> None:
        match frame:
            case run.Fence():
                await self._fence(peer, frame)
            case run.Materialize():
                await self._materialize(peer, frame)
            case run.Start():
                await self._start(peer, frame)
            case run.Attach():
                await self._attach(peer, frame)
            case run.Cancel():
                await self._cancel(peer, frame)
            case run.ReadOutput():
                await self._read_output(peer, frame)
            case run.Clock() | run.KeepAlive():
                raise AssertionError("answered in on_frame")
            case _:
                assert_never(frame)

    async def _fence(self, peer: Peer, frame: run.Fence) -> None:
        held = self._authority.check(peer, frame.grant, frame.session, frame.epoch)
        states, seq = await self._ledger.call(self._ledger.ledger.fence, held.tenant, frame.session, frame.epoch)
        self._authority.admitted(peer, frame.session, frame.epoch)
        peer.send(run.Fenced(frame.id, self.me.token(), states, seq))

    async def _materialize(self, peer: Peer, frame: run.Materialize) -> None:
        held = self._authority.check(peer, frame.grant, frame.session, frame.epoch)
        self._check_token(frame.token)
        async with self._session(frame.session):
            await self._ledger.call(self._ledger.ledger.check, held.tenant, frame.session, frame.epoch)
            self._authority.admitted(peer, frame.session, frame.epoch)
            if self._runner.busy(frame.session):
                raise Refusal("no-capacity", "a run of this session is running in its workspace", retry=True)
            try:
                await self._workspaces.materialize(
                    held.tenant, frame.session, frame.workspace_no, frame.generation, frame.files
                )
            except OSError as error:
                raise Refusal("no-capacity", f"the workspace cannot be written: {error}", retry=True) from error
        peer.send(run.Done(frame.id))

    async def _start(self, peer: Peer, frame: run.Start) -> None:
        spec = frame.spec
        held = self._authority.check(peer, frame.grant, spec.session, spec.epoch)
        if held.tenant != spec.tenant:
            raise TokenRefused("grant: of another tenant")
        if fault := admit.spec_fault(spec):
            raise Refusal("invalid", fault)
        async with self._session(spec.session):
            try:
                known = await self._ledger.call(
                    self._ledger.ledger.attach, spec.tenant, spec.session, spec.epoch, spec.run_id
                )
            except UnknownRun:
                await self._start_new(peer, frame)
            else:
                self._authority.admitted(peer, spec.session, spec.epoch)
                await self._join(peer, frame.id, known, after=-1)

    async def _start_new(self, peer: Peer, frame: run.Start) -> None:
        """Start a run the ledger does not know; the session's lock is held."""
        spec, ledger = frame.spec, self._ledger.ledger
        # Its owner counts it as over at the orphan deadline, and may be working elsewhere by then.
        self._check_token(frame.token, spec.orphan_timeout_s)
        if self.draining:
            raise Refusal("draining", "this host is going away", retry=True)
        with self._room(spec.tenant):
            place = await self._workspaces.place(spec.session, spec.workspace_no)
            self._check_token(frame.token)  # again, and nothing awaited before the ledger's turn: a later fence sees it
            deadline_s = frame.token.clock_s + spec.orphan_timeout_s
            failpoints.hit("sandboxd.start.before_ledger")
            state = await self._ledger.call(
                ledger.start, spec, deadline_s=deadline_s, boot_id=self.me.boot_id, now_us=runtime.now_us()
            )
            failpoints.hit("sandboxd.start.after_ledger")
            self._authority.admitted(peer, spec.session, spec.epoch)
            if state != "new":
                peer.send(run.Started(frame.id, spec.run_id, state))
                return
            peer.send(run.Started(frame.id, spec.run_id, "running"))
            self._runner.begin(Run(spec, place, deadline_s, peer.send))

    @contextlib.contextmanager
    def _room(self, tenant: str) -> Iterator[None]:
        """Hold a place for a run about to start. One tenant never has all places, so that others can still start."""
        taken = [run.spec.tenant for run in self._runner.runs.values()] + list(self._starting.elements())
        if len(taken) >= self._runs_max:
            raise Refusal("no-capacity", f"{self._runs_max} runs are running", retry=True)
        share = self._runs_max - self._runs_max // 4
        if taken.count(tenant) >= share:
            raise Refusal("no-capacity", f"{share} runs of this tenant are running", retry=True)
        self._starting[tenant] += 1
        try:
            yield
        finally:
            self._starting[tenant] -= 1

    async def _attach(self, peer: Peer, frame: run.Attach) -> None:
        held = self._authority.check(peer, frame.grant, frame.session, frame.epoch)
        stored = await self._ledger.call(
            self._ledger.ledger.attach, held.tenant, frame.session, frame.epoch, frame.run_id
        )
        self._authority.admitted(peer, frame.session, frame.epoch)
        await self._join(peer, frame.id, stored, after=frame.after)

    async def _join(self, peer: Peer, request_id: int, stored: StoredRun, *, after: int) -> None:
        """Answer with the state of a run, then tell its results after ``after``: past ones now, others as they come."""
        run_id, tell = stored.spec.run_id, peer.send
        live = self._runner.runs.get(run_id)
        if live is None and stored.state == "running":  # it ended between the two looks
            spec = stored.spec
            stored = await self._ledger.call(self._ledger.ledger.read, spec.tenant, spec.session, run_id)
        results = stored.results if live is None else tuple(live.results.values())
        enforced = dict(self._runner.enforced) if live is not None else stored.enforced
        peer.send(run.Started(request_id, run_id, stored.state))
        for result in sorted(results, key=lambda result: result.index):
            if result.index > after:
                tell(run.StepDone(run_id, result, plan.held(stored.spec.steps[result.index], enforced)))
        if live is not None:
            live.listener = tell
        elif stored.outcome is not None:
            tell(run.RunDone(run_id, stored.outcome, enforced))

    async def _cancel(self, peer: Peer, frame: run.Cancel) -> None:
        held = self._authority.check(peer, frame.grant, frame.session, frame.epoch)
        ledger = self._ledger.ledger
        await self._ledger.call(ledger.check, held.tenant, frame.session, frame.epoch)
        self._authority.admitted(peer, frame.session, frame.epoch)
        stored = await self._ledger.call(ledger.read, held.tenant, frame.session, frame.run_id)
        live = self._runner.runs.get(frame.run_id)
        if live is not None:
            live.end("cancelled")
        peer.send(run.Done(frame.id, stored.state))

    async def _read_output(self, peer: Peer, frame: run.ReadOutput) -> None:
        held = self._authority.check(peer, frame.grant, frame.session)
        if frame.offset < 0 or frame.limit < 1:
            raise Refusal("invalid", "an offset is at least 0, a limit at least 1")
        stored = await self._ledger.call(self._ledger.ledger.read, held.tenant, frame.session, frame.run_id)
        if not 0 <= frame.step < len(stored.spec.steps):
            raise Refusal("invalid", f"the run has no step {frame.step}")
        limit = min(frame.limit, limits.OUTPUT_READ_BYTES_MAX)
        live = self._runner.runs.get(frame.run_id)
        result = next((result for result in stored.results if result.index == frame.step), None)
        content = await asyncio.to_thread(self._spool.read, frame.run_id, frame.step, frame.stream, frame.offset, limit)
        stream = live.streams.get((frame.step, frame.stream)) if live is not None else None
        truncated = stream.truncated if stream is not None else False
        eof = live is None and len(content) < limit
        if result is not None:
            ref: run.OutputRef = getattr(result, frame.stream)
            if not content and frame.offset < ref.bytes:
                content = await asyncio.to_thread(self._spool.read_stored, ref, frame.offset, limit)
            truncated, eof = ref.truncated, frame.offset + len(content) >= ref.bytes
        peer.send(run.OutputIs(frame.id, content, frame.offset + len(content), eof, truncated))

    def _keep_alive(self, peer: Peer, frame: run.KeepAlive) -> None:
        fault = admit.token_fault(frame.token, self.me.token(), age_s_max=None)
        if fault:
            runtime.log().info("keep-alive ignored", why=fault)
            return
        for session, epoch in frame.sessions:
            if self._authority.owns(peer, session, epoch):
                self._runner.keep_alive(session, frame.token.clock_s)

    def _check_token(self, token: run.ClockToken, age_s_max: float = math.inf) -> None:
        if fault := admit.token_fault(token, self.me.token(), min(self._lease_ttl_s, age_s_max)):
            raise Refusal("stale-token", fault)

    def _session(self, session: str) -> asyncio.Lock:
        """Return the lock that lets one start or materialization of a session happen at a time."""
        return self._sessions.setdefault(session, asyncio.Lock())
