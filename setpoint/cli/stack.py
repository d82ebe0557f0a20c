"""``setpoint up`` and ``setpoint down``: the real thing on one machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from setpoint.cli import context
from setpoint.contracts.problem import Problem
from setpoint.local import facts
from setpoint.runtime import default_state_dir, process_start

_START_S: Final = 60.0
_STOP_S: Final = 30.0
COLUMNS = (("PROCESS", "name"), ("PID", "pid"), ("PORT", "port"))
_STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where durable state lives (SETPOINT_STATE_DIR).",
)


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the processes of a running stack as table rows."""
    return [{"name": name, **part} for name, part in found["processes"].items()]


@click.command()
@_STATE_DIR
@click.option("--detach", "-d", is_flag=True, help="Go to the background once everything is ready.")
@click.option("--cells", default=1, show_default=True, help="Cell hosts to run.")
@click.option("--sandboxes", default=1, show_default=True, help="Sandbox hosts to run.")
@click.option("--port", default=8080, show_default=True, help="Port of the gateway; the others follow it.")
@click.option(
    "--unsafe-no-isolation",
    is_flag=True,
    help="Run commands WITHOUT a sandbox. Every result says so. Never for tenants.",
)
def up(state_dir: Path | None, detach: bool, cells: int, sandboxes: int, port: int, unsafe_no_isolation: bool) -> None:
    """Start Postgres and every daemon on this machine and keep them running until Ctrl-C (or `setpoint down`)."""
    root = (state_dir or default_state_dir(os.environ)).absolute()
    if facts.running(root):
        raise Problem("conflict", f"a stack already runs in {root}; see it with ps, stop it with: setpoint down")
    if detach:
        _detached(root)
        return
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
    if busy := busy_ports(chosen):
        raise Problem("conflict", "; ".join(busy) + " (choose others with --port)")
    raise click.exceptions.Exit(asyncio.run(_supervise(chosen)))


async def _supervise(chosen: Any) -> int:
    from setpoint.local.process import DaemonFailed
    from setpoint.local.stack import Stack

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stack = Stack(chosen, context.note)
    starting = asyncio.create_task(stack.start())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            starting.cancel()
            return 130
        await starting
        _welcome(stack)
        assert stack.failed is not None
        watched: list[asyncio.Future[Any]] = [stopped, stack.failed]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if stack.failed.done():
            raise DaemonFailed(stack.failed.result())
        return 0
    except DaemonFailed as error:
        context.note(f"setpoint: {error}")
        return 7
    finally:
        stopped.cancel()
        context.note("stopping")
        await stack.stop()


def _welcome(stack: Any) -> None:
    profile = {
        "server": stack.server,
        "api_key": stack.api_key,
        "brokers": f"127.0.0.1:{stack.ports['broker']}",
        "operator_key": stack.secret("operator.key"),
    }
    path = context.save_profile(os.environ, profile)
    context.print_table(rows(stack.facts()), COLUMNS)
    context.note(f"ready at {stack.server}; tenant {stack.settings.tenant}; key in {path}")
    context.note("next: setpoint init hello && setpoint apply hello --wait")


def _detached(root: Path) -> None:
    """Start the same command in the background and return when it is ready."""
    words = [word for word in sys.argv[1:] if word not in ("-d", "--detach")]
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    log_path = root / "up.log"
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "setpoint.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        found = facts.running(root)
        if found is not None and found["supervisor"] == child.pid:
            context.emit(rows(found), COLUMNS)
            context.note(f"ready at {found['server']}; stop it with: setpoint down")
            return
        if child.poll() is not None:
            raise Problem("unavailable", f"the stack did not start; its log is {log_path}")
        time.sleep(0.1)
    child.terminate()
    raise Problem("unavailable", f"the stack is not ready after {_START_S:g} s; its log is {log_path}")


@click.command()
@_STATE_DIR
def down(state_dir: Path | None) -> None:
    """Stop the stack that `setpoint up` started, and keep its data."""
    root = (state_dir or default_state_dir(os.environ)).absolute()
    found = facts.running(root)
    if found is None:
        raise Problem("not-found", f"no stack runs in {root}")
    pid = int(found["supervisor"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while process_start(pid) == found["supervisor_start"]:
        if time.monotonic() > deadline:
            raise Problem("unavailable", f"the stack (pid {pid}) has not stopped after {_STOP_S:g} s")
        time.sleep(0.05)
    context.note(f"stopped; the data is kept in {root}")
