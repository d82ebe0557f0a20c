"""``setpoint up`` and ``setpoint down``: the real thing on one machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Final

import click

from setpoint.cli import context
from setpoint.contracts.problem import Problem
from setpoint.local import facts
from setpoint.runtime import default_state_dir, process_start

_START_S: Final = 150.0
_STOP_S: Final = 75.0
_POLL_S: Final = 0.05
COLUMNS = (("PROCESS", "name"), ("PID", "pid"), ("PORT", "port"))
_FEW: Final = click.IntRange(1, 16)
_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where durable state lives (SETPOINT_STATE_DIR).",
)


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the processes of a running stack as table rows."""
    return [{"name": name, **part} for name, part in found["processes"].items()]


def _show(found: dict[str, Any]) -> None:
    context.emit(found if context.as_json() else rows(found), COLUMNS)


@click.command()
@_STATE_DIR
@click.option("--detach", "-d", is_flag=True, help="Go to the background once everything is ready.")
@click.option("--cells", default=1, show_default=True, type=_FEW, help="Cell hosts to run.")
@click.option("--sandboxes", default=1, show_default=True, type=_FEW, help="Sandbox hosts to run.")
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(1, 65532), help="Gateway's port; the next 3 follow."
)
@click.option(
    "--unsafe-no-isolation",
    is_flag=True,
    help="Run commands WITHOUT a sandbox. Every result says so. Never for tenants.",
)
def up(state_dir: Path | None, detach: bool, cells: int, sandboxes: int, port: int, unsafe_no_isolation: bool) -> None:
    """Start Postgres and every daemon on this machine and keep them running until Ctrl-C (or `setpoint down`).

    Daemons that die are started again. The key of tenant `dev` goes into your profile, so that the other commands
    find this stack by themselves.
    """
    root = _root(state_dir)
    if found := facts.running(root):
        raise Problem(
            "conflict", f"a stack already runs in {root} (pid {found['supervisor']}); stop it with: setpoint down"
        )
    if detach:
        raise click.exceptions.Exit(_detached(root))
    from setpoint.local.stack import StackSettings, busy_ports

    chosen = StackSettings(
        state_dir=root,
        gateway_port=port,
        broker_port=port + 1,
        celld_port=port + 2,
        sandboxd_port=port + 3,
        cell_hosts=cells,
        sandbox_hosts=sandboxes,
        unsafe_no_isolation=unsafe_no_isolation,
        database_url=os.environ.get("SETPOINT_DATABASE_URL", ""),
    )
    with _claimed(root):
        facts.end_leftovers(root, context.note)
        if busy := busy_ports(chosen):
            raise Problem("conflict", "; ".join(busy) + " (choose others with --port)")
        raise click.exceptions.Exit(asyncio.run(_supervise(chosen)))


def _root(state_dir: Path | None) -> Path:
    return (state_dir or default_state_dir(os.environ)).absolute()


def _claimed(root: Path) -> IO[bytes]:
    """Hold the state directory, or say in one line why that cannot be."""
    try:
        return facts.claim(root)
    except facts.StateDirBusy as error:
        raise Problem("conflict", str(error)) from error
    except OSError as error:
        hint = "choose another with --state-dir or SETPOINT_STATE_DIR"
        raise click.ClickException(f"the state directory {root} cannot be used: {error.strerror}; {hint}") from error


async def _supervise(chosen: Any) -> int:
    from setpoint.local.process import StackFailed
    from setpoint.local.stack import Stack

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    stack = Stack(chosen, context.note)
    starting = asyncio.create_task(stack.start())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 130
        await starting
        _welcome(stack)
        assert stack.failed is not None
        watched: list[asyncio.Future[Any]] = [stopped, stack.failed]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if stack.failed.done():
            raise StackFailed(stack.failed.result())
        return 0
    except StackFailed as error:
        context.note(f"setpoint: {error}")
        return context.EXIT_UNAVAILABLE
    finally:
        stopped.cancel()
        starting.cancel()
        context.note("stopping")
        await asyncio.wait([starting])  # what it had begun is unwound before the rest is stopped
        await stack.stop()


def _welcome(stack: Any) -> None:
    profile = {
        "server": stack.server,
        "api_key": stack.api_key,
        "brokers": f"127.0.0.1:{stack.ports['broker']}",
        "operator_key": stack.secret("operator.key"),
    }
    path = context.save_profile(os.environ, profile)
    _show(stack.facts())
    context.note(f"ready at {stack.server}; tenant {stack.settings.tenant}; key in {path}")
    context.note("next: setpoint init hello && setpoint apply hello --wait")


def _detached(root: Path) -> int:
    """Start the same command in the background, show how it gets on; return 0 once it is ready, else its exit code."""
    words = [word for word in sys.argv[1:] if word not in ("-d", "--detach")]
    with _claimed(root), (root / "up.log").open("ab") as log:
        offset = log.seek(0, os.SEEK_END)
    with (root / "up.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "setpoint.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    try:
        return _until_ready(root, child, offset)
    except BaseException:  # Ctrl-C, or whatever else: nothing half started is left behind
        child.terminate()
        child.wait(_STOP_S)
        raise


def _until_ready(root: Path, child: subprocess.Popen[bytes], offset: int) -> int:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        ended = child.poll()
        found = facts.running(root)
        offset = _tell(root / "up.log", offset)
        if ended is not None:
            context.note(f"setpoint: the stack did not start; its logs: {root / 'up.log'} and {root / 'logs'}")
            return ended or context.EXIT_UNAVAILABLE
        if found is not None and found["ready"] and found["supervisor"] == child.pid:
            _show(found)
            return 0
        time.sleep(_POLL_S)
    raise Problem("unavailable", f"the stack is not ready after {_START_S:g} s; its log is {root / 'up.log'}")


def _tell(log_path: Path, offset: int) -> int:
    """Say what was added to a log since ``offset``, whole lines only, and return the new offset."""
    with log_path.open("rb") as log:
        log.seek(offset)
        added = log.read()
    whole = added[: added.rfind(b"\n") + 1]
    if whole:
        context.note(whole.decode(errors="replace").rstrip("\n"))
    return offset + len(whole)


@click.command()
@_STATE_DIR
def down(state_dir: Path | None) -> None:
    """Stop the stack that `setpoint up` started, and keep its data."""
    root = _root(state_dir)
    found = facts.running(root)
    if found is None:
        _stop_leftovers(root)
    else:
        _stop_supervisor(int(found["supervisor"]), found["supervisor_start"])
    context.done({"stopped": True, "state_dir": str(root)}, f"stopped; the data is kept in {root}")


def _stop_supervisor(pid: int, start: int) -> None:
    context.note(f"stopping the stack (pid {pid})")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while process_start(pid) == start:
        if time.monotonic() > deadline:
            raise Problem("unavailable", f"the stack (pid {pid}) has not stopped after {_STOP_S:g} s")
        time.sleep(_POLL_S)


def _stop_leftovers(root: Path) -> None:
    """Stop what outlived a killed supervisor. Raises Problem not-found when nothing did."""
    from setpoint.local.postgres import PostgresCluster
    from setpoint.local.postgres_process import PostgresFailed

    found = facts.leftovers(root)
    if not found:
        raise Problem("not-found", f"no stack runs in {root}")
    with _claimed(root):
        facts.end_leftovers(root, context.note)
        if "postgres" in found:
            context.note(f"  postgres (pid {found['postgres']})")
            try:
                asyncio.run(PostgresCluster(root / "postgres").stop())
            except PostgresFailed as error:
                raise Problem("unavailable", str(error)) from error
        (root / "stack.json").unlink(missing_ok=True)
