"""``setpoint demo``: the whole story in a minute, in a temporary directory, leaving nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click

from setpoint.cli import context, narrate, project, wait
from setpoint.contracts.problem import Problem

_CONVERGE_S: Final = 30.0
_SESSION: Final = "quickstart"
_DELETED: Final = "greeting.txt"


@click.command()
@click.option("--keep", is_flag=True, help="Leave the stack running at the end until Ctrl-C.")
@click.option("--unsafe-no-isolation", is_flag=True, help="Run commands WITHOUT a sandbox. Every result says so.")
def demo(keep: bool, unsafe_no_isolation: bool) -> None:
    """Start everything in a temporary directory, watch a project converge and heal, stop everything."""
    raise click.exceptions.Exit(asyncio.run(_demo(keep, unsafe_no_isolation)))


async def _demo(keep: bool, unsafe: bool) -> int:
    from setpoint.client.api import Client
    from setpoint.local.process import DaemonFailed
    from setpoint.local.stack import Stack, StackSettings

    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="setpoint-demo-"))
    chosen = StackSettings(root, 0, 0, 0, 0, unsafe_no_isolation=unsafe)
    stack = Stack(chosen, _say)
    api: Client | None = None
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        _head("1. Start Postgres and the four tiers, each a process of its own")
        await stack.start()
        api = Client(stack.server, stack.api_key)
        await asyncio.to_thread(_story, api)
        _head("4. What ran where")
        _places(stack.facts())
        _farewell(began)
        if keep:
            _say("still running; Ctrl-C stops it")
            await asyncio.Event().wait()
        return 0
    except asyncio.CancelledError:
        _say("interrupted: stopping everything")
        return 130
    except DaemonFailed as error:
        context.note(f"setpoint: {error}")
        return 7
    except TimeoutError:
        context.note(f"setpoint: the demo did not converge within {_CONVERGE_S:g} s; logs: {root / 'logs'}")
        return 6
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        if api is not None:
            api.close()  # ends a story that is still being told in its thread
        await stack.stop()
        shutil.rmtree(root, ignore_errors=True)


def _story(api: Any) -> None:
    quickstart = Path(str(resources.files("setpoint.local").joinpath("quickstart")))
    _head("2. Apply a project: farewell is made from greeting; nothing is there yet, so both have drifted")
    api.create_session(_SESSION)
    accepted = project.upload(api, _SESSION, project.read_project(quickstart), evaluate=False)
    ended = wait.for_command(api, _SESSION, accepted["command_id"], _CONVERGE_S)
    if ended["status"] != "succeeded":
        raise Problem("conflict", f"the apply ended as {ended['status']}: {ended.get('result')}")
    _converge(api, 0)
    _head(f"3. Something deletes {_DELETED} from the workspace; the next look finds the drift and heals it")
    head = int(api.session(_SESSION)["head_seq"])
    api.command(_SESSION, "tool", {"name": "exec", "args": {"argv": ["rm", _DELETED]}})
    _healed(api, head)


def _converge(api: Any, after: int) -> None:
    wait.for_convergence(api, _SESSION, after, _CONVERGE_S, _show)


def _healed(api: Any, after: int) -> None:
    """Show what happens until the upstream was found drifted, and then until everything is Ready again."""
    from setpoint.client.sse import follow

    deadline = time.monotonic() + _CONVERGE_S
    for event in follow(api, _SESSION, after, deadline_s=deadline):
        _show(event)
        after = int(event["seq"])
        if event["type"] == "asset.drifted":
            break
    _converge(api, after)


def _show(event: dict[str, Any]) -> None:
    colour, text = narrate.line(event)
    click.secho(text, fg=colour)


def _head(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _say(text: str) -> None:
    click.echo(f"  {text}")


def _places(facts: dict[str, Any]) -> None:
    for name, part in facts["processes"].items():
        _say(f"{name:<10} pid {part['pid']:<8} port {part['port']}")
    _say(f"database   {facts['processes'].get('postgres', {}).get('port', 'external')} (all durable state but files)")


def _farewell(began: float) -> None:
    click.secho(f"\nDone in {time.monotonic() - began:.0f} s. Go on with:", bold=True)
    for line in ("setpoint up -d", "setpoint init hello", "setpoint apply hello --wait", "setpoint status -s hello"):
        _say(line)
