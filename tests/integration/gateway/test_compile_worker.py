"""The compile workers as real processes: hostile projects, kills, stalls, and a loop that keeps turning meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.compile_worker import CompilePool
from setpoint import lag
from setpoint.contracts import limits
from setpoint.contracts.problem import Problem
from setpoint.contracts.resource.compile import CompileResult, compile_project

T = TypeVar("T")

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
GOOD = {str(path.relative_to(QUICKSTART)): path.read_bytes() for path in QUICKSTART.rglob("*.yaml")}
API = "apiVersion: setpoint.dev/v1alpha1\n"


@pytest.fixture
async def pool() -> AsyncIterator[CompilePool]:
    pool = CompilePool()
    await pool.start()
    yield pool
    await pool.stop()
    assert pool.pids() == ()


async def with_lag(work: Awaitable[T]) -> tuple[T, float]:
    """Await ``work`` and return its result with the worst lag of the loop meanwhile, as the daemons measure it."""
    lags = [0.0]
    meter = asyncio.create_task(lag.measure(lags.append))
    try:
        return await work, max(lags)
    finally:
        meter.cancel()


def codes(result: CompileResult) -> list[str]:
    return [fault.code for fault in result.faults]


def bomb() -> bytes:
    levels = ["a0: &a0 [x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 7)}]" for n in range(1, 9)]
    return "\n".join(levels).encode()


def large_project() -> dict[str, bytes]:
    """Return a project that takes a worker about a second."""
    one = API + "kind: Asset\nmetadata: {{name: a{}}}\nspec: {{upstreams: []}}\n"
    return {
        f"resources/{n}.yaml": "---\n".join(one.format(n * 500 + m) for m in range(500)).encode() for n in range(16)
    }


async def test_a_worker_gives_what_compile_gives(pool: CompilePool) -> None:
    result = await pool.compile({**GOOD, "src/not-read.bin": b"\xff" * 1000})
    assert result == compile_project(GOOD)
    assert result.compiled is not None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[" * 60_000, "yaml.depth"),
        (b"- " * 60_000, "yaml.depth"),
        (bomb(), "yaml.nodes"),
        (b"a: &a [*a]", "yaml.alias-cycle"),
        (b'a: "x\\0"', "yaml.nul"),
        (b"a: \x00", "yaml.character"),
        (b"\xff\xfe", "yaml.encoding"),
        (b"x" * (256 * 1024 + 1), "too-large"),
        (b"a: " + b"word\n " * 43_600, "missing-field"),
        (b'a: "' + b"word\n\n " * 37_000 + b'"', "missing-field"),
    ],
)
async def test_hostile_files_are_faults_and_the_loop_keeps_turning(
    pool: CompilePool, content: bytes, code: str
) -> None:
    before = pool.pids()
    result, lag_s = await with_lag(pool.compile({"resources/x.yaml": content}))
    assert code in codes(result)
    assert lag_s < 0.1
    assert pool.pids() == before, "none of this costs a worker"


async def test_a_large_project_does_not_stall_the_loop(pool: CompilePool) -> None:
    result, lag_s = await with_lag(pool.compile(large_project()))
    assert result.faults == ()
    assert lag_s < 0.1


async def test_manifests_beyond_the_limit_are_not_even_sent(pool: CompilePool) -> None:
    one = b"#" * limits.MANIFEST_FILE_BYTES_MAX
    many = {f"resources/{n}.yaml": one for n in range(limits.COMPILE_INPUT_BYTES_MAX // len(one) + 1)}
    assert codes(await pool.compile(many)) == ["too-large"]


async def test_a_project_that_takes_too_long_is_refused_and_the_worker_replaced() -> None:
    pool = CompilePool(time_limit_s=0.5)
    await pool.start()
    try:
        (first,) = pool.pids()
        os.kill(first, signal.SIGSTOP)
        result, lag_s = await with_lag(pool.compile(GOOD))
        assert codes(result) == ["too-expensive"]
        assert lag_s < 0.1
        assert not Path(f"/proc/{first}").exists()
        assert (await pool.compile(GOOD)).faults == ()
        assert pool.pids() not in ((), (first,))
    finally:
        await pool.stop()


async def test_a_killed_worker_costs_nothing_but_time(pool: CompilePool) -> None:
    (first,) = pool.pids()
    os.kill(first, signal.SIGKILL)
    assert (await pool.compile(GOOD)).faults == ()
    assert first not in pool.pids()


async def test_a_worker_killed_in_the_middle_is_tried_once_more(pool: CompilePool) -> None:
    (first,) = pool.pids()
    os.kill(first, signal.SIGSTOP)
    compiling = asyncio.ensure_future(pool.compile(GOOD))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert (await compiling).faults == ()


async def test_a_project_that_needs_too_much_memory_is_refused() -> None:
    pool = CompilePool(memory_bytes_max=230 * limits.MIB, time_limit_s=60.0)
    await pool.start()
    try:
        sixteen = list(large_project().values())
        files = {f"resources/{n}-{m}.yaml": content for n in range(12) for m, content in enumerate(sixteen)}
        result = await pool.compile(files)
        assert codes(result) == ["too-expensive"]
        assert "memory" in result.faults[0].message
        assert (await pool.compile(GOOD)).faults == ()
    finally:
        await pool.stop()


async def test_the_queue_is_bounded() -> None:
    pool = CompilePool(queue_max=2, time_limit_s=1.0)
    await pool.start()
    try:
        os.kill(pool.pids()[0], signal.SIGSTOP)
        answers = await asyncio.gather(*(pool.compile(GOOD) for _ in range(5)), return_exceptions=True)
        problems = [answer.code for answer in answers if isinstance(answer, Problem)]
        results = [answer for answer in answers if isinstance(answer, CompileResult)]
        assert problems == ["unavailable"] * 2
        assert [codes(result) for result in results] == [["too-expensive"], [], []], "one at work, two waited"
    finally:
        await pool.stop()


async def test_a_cancelled_compile_gives_its_place_back(pool: CompilePool) -> None:
    (first,) = pool.pids()
    os.kill(first, signal.SIGSTOP)
    compiling = asyncio.ensure_future(pool.compile(GOOD))
    await asyncio.sleep(0)
    compiling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await compiling
    assert (await pool.compile(GOOD)).faults == ()
    assert first not in pool.pids()


async def test_stop_ends_what_is_under_way_and_can_be_repeated() -> None:
    pool = CompilePool(size=2)
    await pool.start()
    pids = pool.pids()
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    compiling = asyncio.ensure_future(pool.compile(GOOD))
    await asyncio.sleep(0)
    await pool.stop()
    await pool.stop()
    with pytest.raises(Problem, match="unavailable"):
        await compiling
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(Problem, match="unavailable"):
        await pool.compile(GOOD)


async def test_a_worker_knows_nothing_of_ours(pool: CompilePool) -> None:
    (pid,) = pool.pids()
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert {line.partition(b"=")[0] for line in environ if line} == {b"LANG", b"PYTHONPATH"}
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    descriptors = {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert all(target.startswith(("pipe:", "/dev/null")) for fd, target in descriptors.items() if fd not in (1, 2))


async def test_a_worker_ends_when_the_gateway_is_gone(pool: CompilePool) -> None:
    worker = next(iter(pool._alive))
    worker.stdin.close()
    async with asyncio.timeout(10):
        assert await worker.process.wait() == 0
