"""The ledger: epoch floors, runs, results and workspaces of this host, on disk before anything happens.

The host and the runner call it through ``ledger_thread``, so that waiting for the disk never stops the event loop; the
reaper calls it directly before the loop exists. Every method is one transaction, synced when it returns. It decides
what the floors decide and nothing else, and never touches a process or a workspace.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from setpoint.contracts import codec, limits
from setpoint.contracts.run import Epoch, Outcome, RunSpec, RunState, StepResult

_VERSION: Final = 1
_BLOCK: Final = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)
_SQL: Final = {
    name: statement.strip() for name, statement in _BLOCK.findall(Path(__file__).with_suffix(".sql").read_text())
}
_spec = msgspec.msgpack.Decoder(RunSpec)
_result = msgspec.msgpack.Decoder(StepResult)
_enforced = msgspec.msgpack.Decoder(dict[str, str])


class StaleEpoch(Exception):
    """The epoch is below the session's floor; the text names the floor."""


class WrongTenant(Exception):
    """The session is known to belong to another tenant."""


class UnknownRun(Exception):
    """The ledger has no such run of this session."""


class UnknownWorkspace(Exception):
    """The session has no such workspace on this host."""


class UidsUsedUp(Exception):
    """Every account of the configured range belongs to a session."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the ledger holds it. ``pid`` and ``pid_start`` name its process while it runs."""

    spec: RunSpec
    state: RunState
    outcome: Outcome | None
    enforced: dict[str, str]
    results: tuple[StepResult, ...]
    boot_id: str
    pid: int | None
    pid_start: int | None


@dataclass(frozen=True, slots=True)
class Workspace:
    """A directory of a session: its neutral ``place``, and the manifest (JSON) last materialized there, or empty."""

    place: str
    generation: int
    manifest: bytes


class Ledger:
    """An open ledger file. Use it from one thread at a time."""

    def __init__(self, path: Path, fresh_id: str) -> None:
        path.touch(mode=0o600)  # commands and their environment are nobody else's business
        self._together = False
        self._connection = sqlite3.connect(path, isolation_level="IMMEDIATE", check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self._connection:
            for name in _SQL:
                if name.startswith("make_"):
                    self._do(name)
            self._do("identify", ledger_id=fresh_id, version=_VERSION)
        self.ledger_id, version = self._connection.execute(_SQL["identity"]).fetchone()
        if version != _VERSION:
            raise ValueError(f"{path}: the ledger has layout {version}, this sandboxd knows {_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def together(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        """Carry out several methods in one transaction; return what each returned, or the error that it raised.

        One that raises leaves nothing behind and does not touch the others. When the disk refuses, all have failed.
        """
        if len(calls) == 1:
            return [_outcome(calls[0])]
        self._together = True
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                return [_outcome(call) for call in calls]
        except sqlite3.Error as error:
            return [error] * len(calls)
        finally:
            self._together = False

    def fence(self, tenant: str, session: str, epoch: Epoch) -> tuple[dict[str, RunState], int]:
        """Raise the floor; return the states of the session's runs and the highest seq it started anything under.

        Raises StaleEpoch, WrongTenant.
        """
        with self._transaction():
            known = self._admit(tenant, session, epoch)
            rows = self._do("states", session=session).fetchall()
            return dict(rows), int(known[3])

    def start(self, spec: RunSpec, *, deadline_s: float, boot_id: str, now_us: int) -> Literal["new"] | RunState:
        """Write a run down as running and return ``new``, or return the state of one that is known already.

        An unknown run at or before the position of a forgotten one of the same cluster counts as interrupted: nobody
        can tell any more that it was never seen. Raises StaleEpoch, WrongTenant, UnknownWorkspace.
        """
        with self._transaction():
            known = self._admit(spec.tenant, spec.session, spec.epoch)
            row = self._do("run", run_id=spec.run_id).fetchone()
            if row is not None:
                state: RunState = row[5]
                return state if row[1] == spec.session else "interrupted"
            if known[4] == spec.epoch[0] and spec.seq <= known[5]:
                return "interrupted"
            if self._do("workspace", session=spec.session, workspace_no=spec.workspace_no).fetchone() is None:
                raise UnknownWorkspace(f"workspace {spec.workspace_no}")
            self._do("raise_seq", session=spec.session, seq=spec.seq)
            self._do(
                "add_run",
                run_id=spec.run_id,
                session=spec.session,
                cluster=spec.epoch[0],
                epoch=spec.epoch[1],
                seq=spec.seq,
                spec=codec.pack(spec),
                deadline_s=deadline_s,
                boot_id=boot_id,
                started_us=now_us,
            )
            return "new"

    def attach(self, tenant: str, session: str, epoch: Epoch, run_id: str) -> StoredRun:
        """Take a run over into ``epoch`` and return it. Raises StaleEpoch, WrongTenant, UnknownRun."""
        with self._transaction():
            self._admit(tenant, session, epoch)
            run = self._run(run_id, session)
            self._do("adopt", run_id=run_id, cluster=epoch[0], epoch=epoch[1])
            return run

    def check(self, tenant: str, session: str, epoch: Epoch) -> None:
        """Admit a request of a session that changes no run. Raises StaleEpoch, WrongTenant."""
        with self._transaction():
            self._admit(tenant, session, epoch)

    def read(self, tenant: str, session: str, run_id: str) -> StoredRun:
        """Return a run of a session. Raises WrongTenant, UnknownRun."""
        known = self._do("session", session=session).fetchone()
        if known is not None and known[0] != tenant:
            raise WrongTenant("the session belongs to another tenant")
        return self._run(run_id, session)

    def note_process(self, run_id: str, pid: int, pid_start: int) -> None:
        """Write down which process carries out the run from now on."""
        with self._transaction():
            self._do("note_process", run_id=run_id, pid=pid, pid_start=pid_start)

    def add_result(self, run_id: str, result: StepResult) -> None:
        """Write down how a step ended."""
        with self._transaction():
            self._do("add_result", run_id=run_id, step=result.index, result=codec.pack(result))

    def end(self, run_id: str, outcome: Outcome, enforced: Mapping[str, str], now_us: int) -> None:
        """Write down how a run ended; one that has ended already stays as it is."""
        state = "interrupted" if outcome == "interrupted" else "finished"
        packed = codec.pack(dict(enforced))
        with self._transaction():
            self._do("end_run", run_id=run_id, state=state, outcome=outcome, enforced=packed, ended_us=now_us)

    def running(self) -> list[StoredRun]:
        """Return the runs that have not ended."""
        return [self._stored(row) for row in self._do("running").fetchall()]

    def uid_of(self, session: str, uids: range) -> int:
        """Return the session's own account, giving it one at the first time. Raises UidsUsedUp."""
        with self._transaction():
            known = self._do("session", session=session).fetchone()
            if known[6] is not None:
                return int(known[6])
            highest = self._do("uid_max", first=uids.start, last=uids.stop - 1).fetchone()[0]
            uid = uids.start if highest is None else int(highest) + 1
            if uid not in uids:
                raise UidsUsedUp(f"all {len(uids)} accounts for sandboxes belong to sessions")
            self._do("set_uid", session=session, uid=uid)
            return uid

    def workspace(self, session: str, workspace_no: int) -> Workspace:
        """Return a workspace of a session. Raises UnknownWorkspace."""
        row = self._do("workspace", session=session, workspace_no=workspace_no).fetchone()
        if row is None:
            raise UnknownWorkspace(f"workspace {workspace_no}")
        return Workspace(*row)

    def add_workspace(self, session: str, workspace_no: int, place: str) -> Workspace:
        """Write down that a directory was made for a session."""
        with self._transaction():
            self._do("add_workspace", session=session, workspace_no=workspace_no, place=place)
        return Workspace(place, 0, b"")

    def note_manifest(self, session: str, workspace_no: int, generation: int, manifest: bytes) -> None:
        """Write down what was materialized."""
        with self._transaction():
            self._do(
                "note_manifest",
                session=session,
                workspace_no=workspace_no,
                generation=generation,
                manifest=manifest,
            )

    def prune(self, before_us: int, keep: int = limits.LEDGER_RUNS_PER_SESSION_MAX) -> list[str]:
        """Forget ended runs that are older than ``before_us`` or more than a session keeps; return their ids."""
        with self._transaction():
            rows = self._do("old_runs", before_us=before_us, keep=keep).fetchall()
            for run_id, session, cluster, seq in rows:
                self._do("forget_run", run_id=run_id)
                self._do("remember_pruned", session=session, cluster=cluster, seq=seq)
        return [row[0] for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction, synced at its end; or a part of the one that ``together`` has begun."""
        if not self._together:
            with self._connection:
                yield
            return
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO part")
            raise
        finally:
            self._connection.execute("RELEASE part")

    def _admit(self, tenant: str, session: str, epoch: Epoch) -> tuple[Any, ...]:
        """Hold a request against the session's floor and raise it; returns the session's row as it was."""
        known: tuple[Any, ...] | None = self._do("session", session=session).fetchone()
        if known is None:
            self._do("add_session", session=session, tenant=tenant, cluster=epoch[0], epoch=epoch[1])
            return tenant, *epoch, 0, 0, -1, None
        if known[0] != tenant:
            raise WrongTenant("the session belongs to another tenant")
        floor: Epoch = (known[1], known[2])
        if epoch < floor:
            raise StaleEpoch(f"the session is at epoch {floor[0]}.{floor[1]}")
        if epoch > floor:
            self._do("raise_floor", session=session, cluster=epoch[0], epoch=epoch[1])
        return known

    def _run(self, run_id: str, session: str) -> StoredRun:
        row = self._do("run", run_id=run_id).fetchone()
        if row is None or row[1] != session:
            raise UnknownRun(f"no run {run_id} of this session")
        return self._stored(row)

    def _stored(self, row: tuple[Any, ...]) -> StoredRun:
        results = self._do("results", run_id=row[0]).fetchall()
        return StoredRun(
            spec=_spec.decode(row[8]),
            state=row[5],
            outcome=row[6],
            enforced={} if row[7] is None else _enforced.decode(row[7]),
            results=tuple(_result.decode(result) for (result,) in results),
            boot_id=row[10],
            pid=row[11],
            pid_start=row[12],
        )

    def _do(self, name: str, **values: object) -> sqlite3.Cursor:
        return self._connection.execute(_SQL[name], values)


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - handed to whoever asked, who knows what it means
        return error
