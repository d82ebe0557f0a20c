"""Compile strangers' projects in processes that can be killed, so that no project can stall or take down the gateway.

``CompilePool`` is the gateway's side; ``main`` is the worker's: it reads a frame with a project, compiles, answers one.
Frames are msgpack after a 4-byte big-endian length. A worker has no secret, no socket and no file of ours; one that is
too slow, too large or dead is killed and replaced, and the project is refused: never a 5xx, never a stalled loop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

import msgspec
import structlog

from setpoint.contracts import limits
from setpoint.contracts.codec import FrameRefused, Unpacker, pack
from setpoint.contracts.problem import Fault, Problem
from setpoint.contracts.resource.compile import CompileResult, compile_project, is_read
from setpoint.contracts.resource.origin_files import is_manifest

_CODE_ROOT: Final = str(Path(__file__).resolve().parent.parent)
_HEADER: Final = struct.Struct(">I")
_READY: Final = b"ready"
_EXIT_OUT_OF_MEMORY: Final = 3
_START_S_MAX: Final = 20.0
_QUEUE_S_MAX: Final = 20.0
_EXIT_S_MAX: Final = 1.0
_ANSWER_BYTES_MAX: Final = limits.COMPILED_BYTES_MAX + limits.MIB

_read_answer: Final = Unpacker(CompileResult)
_log = structlog.get_logger()


class _Project(msgspec.Struct, frozen=True):
    """What a worker compiles: files by path, and variables by name."""

    files: dict[str, bytes]
    variables: dict[str, str]


_read_project: Final = Unpacker(_Project)


class CompilePool:
    """A few compile workers and the bounded queue in front of them. ``start`` before use, ``stop`` in the end."""

    def __init__(
        self,
        *,
        size: int = 1,
        time_limit_s: float = limits.COMPILE_S_MAX,
        memory_bytes_max: int = limits.COMPILE_MEMORY_BYTES_MAX,
        queue_max: int = limits.COMPILE_QUEUE_MAX,
    ) -> None:
        self._time_limit_s = time_limit_s
        self._memory_bytes_max = memory_bytes_max
        self._queue_max = queue_max
        self._seats = tuple(_Seat() for _ in range(size))
        self._free: asyncio.Queue[_Seat] = asyncio.Queue(size)
        self._alive: set[_Worker] = set()
        self._waiting = 0
        self._stopped = False

    async def start(self) -> None:
        """Start every worker and wait until it can work. Raises Problem unavailable when one cannot."""
        for seat in self._seats:
            seat.worker = await self._spawn()
            self._free.put_nowait(seat)

    async def stop(self) -> None:
        """Kill every worker; compiles under way end with Problem unavailable. Idempotent."""
        self._stopped = True
        for worker in tuple(self._alive):
            await self._retire(worker)

    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers that live."""
        return tuple(sorted(worker.process.pid for worker in self._alive))

    async def compile(
        self, files: Mapping[str, bytes], variables: Mapping[str, str] = MappingProxyType({})
    ) -> CompileResult:
        """Compile a project from its files by path, with its variables; only what ``is_read`` names is looked at,
        and the manifests of Origins.

        A project that costs too much is a fault ``too-expensive``, like any other. Raises Problem unavailable when
        too many others wait or the pool is stopped.
        """
        wanted = {path: content for path, content in files.items() if is_read(path)}
        if sum(map(len, wanted.values())) > limits.COMPILE_INPUT_BYTES_MAX:
            message = f"the manifests together have more than {limits.COMPILE_INPUT_BYTES_MAX} bytes"
            return CompileResult(faults=(Fault("too-large", message),))
        wanted |= {path: content for path, content in files.items() if is_manifest(path)}
        seat = await self._take_seat()
        try:
            frame = pack(_Project(wanted, dict(variables)))
            answer = await self._attempt(seat, frame) or await self._attempt(seat, frame)
        finally:
            self._free.put_nowait(seat)
        return answer or _too_expensive(
            f"the compiler died of it twice, with {self._memory_bytes_max // limits.MIB} MiB of memory"
        )

    async def _take_seat(self) -> _Seat:
        if self._waiting >= self._queue_max:
            raise Problem("unavailable", "too many projects wait to be compiled", retry_after_s=1)
        self._waiting += 1
        try:
            async with asyncio.timeout(_QUEUE_S_MAX):
                return await self._free.get()
        except TimeoutError:
            raise Problem("unavailable", "the compile workers are busy", retry_after_s=5) from None
        finally:
            self._waiting -= 1

    async def _attempt(self, seat: _Seat, frame: bytes) -> CompileResult | None:
        """Let the worker of this seat compile; None when it died, which another attempt may survive."""
        worker = seat.worker or await self._spawn()
        seat.worker = None  # taken back only after a good answer: a worker that failed once is not asked again
        try:
            async with asyncio.timeout(self._time_limit_s):
                answer = await worker.ask(frame)
        except TimeoutError:
            return _too_expensive(f"it takes more than {self._time_limit_s:g} s")
        except (EOFError, OSError, FrameRefused) as error:
            code = await worker.exit_code()
            _log.warning("compile.worker_died", pid=worker.process.pid, exit_code=code, error=str(error))
            if code == _EXIT_OUT_OF_MEMORY:
                return _too_expensive(f"it takes more than {self._memory_bytes_max // limits.MIB} MiB of memory")
            return None
        else:
            seat.worker = worker
            return answer
        finally:
            if seat.worker is None:
                await self._retire(worker)

    async def _spawn(self) -> _Worker:
        if self._stopped:
            raise Problem("unavailable", "the compile workers are stopped")
        try:
            worker = await _Worker.start(self._memory_bytes_max)
        except OSError as error:
            raise Problem("unavailable", f"a compile worker cannot be started: {error.strerror}") from error
        self._alive.add(worker)
        ready = b""
        try:
            async with asyncio.timeout(_START_S_MAX):
                ready = await worker.read()
        except (EOFError, OSError, FrameRefused, TimeoutError) as error:
            _log.warning("compile.worker_did_not_start", pid=worker.process.pid, error=str(error))
        finally:
            if ready != _READY:
                await self._retire(worker)
        if ready != _READY:
            raise Problem("unavailable", "a compile worker did not start", retry_after_s=5)
        return worker

    async def _retire(self, worker: _Worker) -> None:
        self._alive.discard(worker)
        await worker.kill()


@dataclass
class _Seat:
    """A place in the pool; its worker is started when it is needed."""

    worker: _Worker | None = None


@dataclass(eq=False)
class _Worker:
    """One worker process."""

    process: asyncio.subprocess.Process
    stdin: asyncio.StreamWriter = field(repr=False)
    stdout: asyncio.StreamReader = field(repr=False)

    @classmethod
    async def start(cls, memory_bytes_max: int) -> _Worker:
        """Start a process that runs this very code, with an environment that holds nothing of ours."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway.compile_worker", str(memory_bytes_max)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd="/",
            env={"LANG": "C.UTF-8", "PYTHONPATH": _CODE_ROOT},
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise OSError("the worker has no pipes")
        return cls(process, process.stdin, process.stdout)

    async def ask(self, frame: bytes) -> CompileResult:
        """Send files, get the answer. Raises EOFError, OSError or FrameRefused when the worker is broken."""
        self.stdin.write(_HEADER.pack(len(frame)))
        for start in range(0, len(frame), limits.MIB):  # a frame may have many: the loop has others to serve
            self.stdin.write(frame[start : start + limits.MIB])
            await self.stdin.drain()
        answer: CompileResult = _read_answer(await self.read())
        return answer

    async def read(self) -> bytes:
        """Read one frame's content."""
        (length,) = _HEADER.unpack(await self.stdout.readexactly(_HEADER.size))
        if length > _ANSWER_BYTES_MAX:
            raise FrameRefused(f"a frame of {length} bytes")
        return await self.stdout.readexactly(length)

    async def exit_code(self) -> int | None:
        """Wait a moment for a dying process and return its code, None while it lives."""
        try:
            async with asyncio.timeout(_EXIT_S_MAX):
                return await self.process.wait()
        except TimeoutError:
            return None

    async def kill(self) -> None:
        """End the process and wait until it is gone. Idempotent."""
        if self.process.returncode is None:
            self.process.kill()
        self.stdin.close()
        await self.process.wait()


def _too_expensive(why: str) -> CompileResult:
    message = f"the project is too expensive to compile: {why}"
    return CompileResult(faults=(Fault("too-expensive", message, hint="make it smaller, or split it"),))


def main() -> int:
    """Compile what comes in on stdin until it ends. The argument is the most memory to use, in bytes."""
    memory_bytes_max = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not end up between frames
    _write(answers, _READY)
    gc.disable()  # what a project is made of lives until it is answered: looking for cycles costs a third of the time
    while header := sys.stdin.buffer.read(_HEADER.size):
        try:
            project = _read_project(sys.stdin.buffer.read(*_HEADER.unpack(header)))
            _write(answers, pack(compile_project(project.files, project.variables)))
            gc.collect()
        except MemoryError:
            return _EXIT_OUT_OF_MEMORY
    return 0


def _write(stream: BinaryIO, content: bytes) -> None:
    stream.write(_HEADER.pack(len(content)) + content)
    stream.flush()


if __name__ == "__main__":
    raise SystemExit(main())
