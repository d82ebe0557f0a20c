"""The output of a step on this host's disk: written as it comes, read from any offset, put into the object store.

The runner opens a ``Stream`` per pipe and closes it after the step; the host reads. One file a stream, made when the
first byte comes. A disk that is full truncates the output and says so; it never fails the step.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from sandboxd.core.budget import Budget, tail_text
from setpoint import runtime
from setpoint.contracts.run import OutputRef
from setpoint.objects import ObjectStore, output_key

_READ_BYTES: Final = 65536

StreamName = Literal["stdout", "stderr"]
STREAMS: Final[tuple[StreamName, ...]] = ("stdout", "stderr")


class Spool:
    """The directory of all outputs of this host: ``RUN/STEP.STREAM``."""

    def __init__(self, root: Path, store: ObjectStore) -> None:
        root.mkdir(mode=0o700, exist_ok=True)
        self._root, self._store = root, store

    def path(self, run_id: str, step: int, stream: StreamName) -> Path:
        """Return the file of a stream; it exists once something was written."""
        return self._root / run_id / f"{step}.{stream}"

    def read(self, run_id: str, step: int, stream: StreamName, offset: int, limit: int) -> bytes:
        """Return at most ``limit`` bytes from ``offset``; empty when there is nothing there (yet)."""
        try:
            with self.path(run_id, step, stream).open("rb") as file:
                return os.pread(file.fileno(), limit, offset)
        except FileNotFoundError:
            return b""

    def read_stored(self, ref: OutputRef, offset: int, limit: int) -> bytes:
        """Return the same of an output whose file is gone but that is in the object store. Raises ObjectMissing."""
        return self._store.get(ref.object)[offset : offset + limit] if ref.object else b""

    def store(self, tenant: str, run_id: str, step: int, stream: StreamName, *, truncated: bool) -> OutputRef:
        """Put a finished stream into the object store; an empty one needs no object. Blocks on the disk.

        A store that fails is logged and leaves ``object`` empty: the output stays readable on this host.
        """
        try:
            content = self.path(run_id, step, stream).read_bytes()
        except FileNotFoundError:
            return OutputRef(truncated=truncated)
        key = output_key(tenant, run_id, step, stream)
        try:
            self._store.put(key, content)
        except OSError as error:
            runtime.log().error("output is not in the object store", run=run_id, step=step, why=str(error))
            key = ""
        return OutputRef(len(content), hashlib.sha256(content).hexdigest(), key, truncated, tail_text(content))

    def forget(self, run_ids: Iterable[str]) -> None:
        """Remove the outputs of runs that the ledger has forgotten. Blocks on the disk."""
        for run_id in run_ids:
            shutil.rmtree(self._root / run_id, ignore_errors=True)


@dataclass(slots=True)
class Stream:
    """One pipe being drained into its file. ``ended`` is set when the last writer has closed the pipe."""

    pipe: int
    path: Path
    budget: Budget = field(default_factory=Budget)
    ended: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _file: int = field(default=-1, init=False)

    @property
    def truncated(self) -> bool:
        """Tell whether more was written than is kept."""
        return self.budget.truncated

    def open(self) -> None:
        """Start draining."""
        os.set_blocking(self.pipe, False)
        asyncio.get_running_loop().add_reader(self.pipe, self._drain)

    def close(self) -> None:
        """Take what is in the pipe still, and stop."""
        for _ in range(64):
            if self.ended.is_set() or not self._drain():
                break
        asyncio.get_running_loop().remove_reader(self.pipe)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _drain(self) -> bool:
        """Move one piece; returns False when there was none."""
        try:
            piece = os.read(self.pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if not piece:
            self.ended.set()
            asyncio.get_running_loop().remove_reader(self.pipe)
            return False
        kept = self.budget.take(piece)
        if kept:
            self._write(kept)
        return True

    def _write(self, kept: bytes) -> None:
        try:
            if self._file < 0:
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            view = memoryview(kept)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            self.budget.truncated = True
            runtime.log().error("output cannot be kept", path=str(self.path), why=str(error))


async def drained(streams: Iterable[Stream], timeout_s: float) -> None:
    """Wait until all streams have ended, at most ``timeout_s``: every writer is dead by then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            for stream in streams:
                await stream.ended.wait()
