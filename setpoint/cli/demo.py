"""``setpoint demo``: the whole story in a minute, in a temporary directory, leaving nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click

from setpoint.cli import context, narrate, project, table, wait
from setpoint.contracts.problem import Problem
from setpoint.local import facts

_CONVERGE_S: Final = 30.0
_SESSION: Final = "quickstart"
_DELETED: Final = "greeting.txt"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DUTIES: Final = {
    "broker": "tier 2: admits hosts, places sessions",
    "sandboxd": "tier 4: ran the commands, each in namespaces of its own",
    "celld": "tier 3: owned the session, wrote its log",
    "gateway": "tier 1: REST and SSE; what this story was read from",
    "postgres": "the one durable truth",
}


class _Teller:
    """Prints the story: on stdout, or on stderr when stdout is for JSON. It knows no click context: it has a thread."""

    def __init__(self, err: bool) -> None:
        self._err = err

    def head(self, text: str) -> None:
        table.line(f"\n{text}", bold=True, err=self._err)

    def say(self, text: str) -> None:
        table.line(f"  {text}", err=self._err)

    def show(self, event: dict[str, Any]) -> None:
        if narrate.is_headline(event):
            colour, text = narrate.line(event)
            table.line(text, colour, err=self._err)


@click.command()
@click.option("--keep", is_flag=True, help="Leave the stack running at the end until Ctrl-C.")
@click.option("--unsafe-no-isolation", is_flag=True, help="Run commands WITHOUT a sandbox. Every result says so.")
def demo(keep: bool, unsafe_no_isolation: bool) -> None:
    """Start everything in a temporary directory, watch a project converge and heal, stop everything.

    Takes free ports and touches no profile and no other stack. With -o json the story goes to stderr, and what ran
    where to stdout.
    """
    # Removed last of all, when no thread of the loop can write into it any more, and even when Python is interrupted.
    with tempfile.TemporaryDirectory(prefix="setpoint-demo-", ignore_cleanup_errors=True) as root:
        code = asyncio.run(_demo(Path(root), keep, unsafe_no_isolation, _Teller(context.as_json())))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise click.exceptions.Exit(code)


async def _demo(root: Path, keep: bool, unsafe: bool, teller: _Teller) -> int:
    from setpoint.client.api import Client
    from setpoint.local.process import StackFailed
    from setpoint.local.stack import Stack, StackSettings

    began = time.monotonic()
    stack = Stack(StackSettings(root, 0, 0, 0, 0, unsafe_no_isolation=unsafe), teller.say)
    api: Client | None = None
    _on_signals(asyncio.current_task())
    try:
        teller.head("1. Start Postgres and the four tiers, each a process of its own")
        await stack.start()
        api = Client(stack.server, stack.api_key)
        await asyncio.to_thread(_story, api, teller)
        _places(stack.facts(), teller)
        end = "with Ctrl-C" if keep else "now"
        teller.head(f"Done in {time.monotonic() - began:.0f} s; this stack goes away {end}. Go on with:")
        _farewell(teller)
        if keep:
            teller.say(f"still running at {stack.server}, key in {root}/secrets/api.key; Ctrl-C stops it")
            await asyncio.Event().wait()
        return 0
    except asyncio.CancelledError:
        teller.say("interrupted: stopping everything")
        return 130
    except StackFailed as error:
        context.note(f"setpoint: {error}")
        return context.EXIT_UNAVAILABLE
    except TimeoutError:
        context.note(f"setpoint: the demo did not converge within {_CONVERGE_S:g} s; what its daemons said last:")
        for daemon in stack.daemons.values():
            context.note(f"  {daemon.name}: {daemon.last_words()}")
        return context.EXIT_TIMEOUT
    finally:
        _on_signals(None)
        if api is not None:
            api.close()  # ends a story that is still being told in its thread
        await stack.stop()


def _on_signals(task: asyncio.Task[Any] | None) -> None:
    """Cancel ``task`` at a signal; with None, signals are let pass: the way out is bounded already."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, task.cancel if task is not None else lambda: None)


def _story(api: Any, teller: _Teller) -> None:
    quickstart = Path(str(resources.files("setpoint.local").joinpath("quickstart")))
    teller.head("2. Apply a project of two assets: farewell is made from greeting, and neither file is there yet")
    api.create_session(_SESSION)
    accepted = project.upload(api, _SESSION, project.read_project(quickstart), evaluate=False)
    ended = wait.for_command(api, _SESSION, accepted["command_id"], _CONVERGE_S)
    if ended["status"] != "succeeded":
        raise Problem("conflict", f"the apply ended as {ended['status']}: {ended.get('result')}")
    wait.for_convergence(api, _SESSION, 0, _CONVERGE_S, teller.show)
    teller.head(f"3. Somebody deletes {_DELETED}; greeting is looked at every 5 s, and heals")
    head = int(api.session(_SESSION)["head_seq"])
    api.command(_SESSION, "tool", {"name": "exec", "args": {"argv": ["rm", _DELETED]}})
    _healed(api, head, teller)


def _healed(api: Any, after: int, teller: _Teller) -> None:
    """Show what happens until the upstream was found drifted, and then until everything is Ready again."""
    from setpoint.client.sse import follow

    deadline = time.monotonic() + _CONVERGE_S
    for event in follow(api, _SESSION, after, deadline_s=deadline):
        teller.show(event)
        after = int(event["seq"])
        if event["type"] == "asset.drifted":
            break
    wait.for_convergence(api, _SESSION, after, _CONVERGE_S, teller.show)


def _places(found: dict[str, Any], teller: _Teller) -> None:
    """Show what ran where: every process by its pid, the cell host's own ones below it."""
    teller.head("4. What ran where")
    if context.as_json():
        context.emit(found)
    for name, part in found["processes"].items():
        teller.say(f"{name:<12}pid {part['pid']:<8}port {part['port']:<7}{_DUTIES.get(name, '')}")
        if name != "celld":
            continue
        for zygote in facts.children(part["pid"]):
            teller.say(f"  zygote    pid {zygote:<20}the warm process that cells are forked from")
            for cell in facts.children(zygote):
                teller.say(f"    cell    pid {cell:<20}the session's state machine; one pipe, nothing else")


def _farewell(teller: _Teller) -> None:
    for line in (
        *_activation(),
        "setpoint up -d                # the same stack in the background, to keep",
        "setpoint init hello           # a project of your own",
        "setpoint apply hello --wait",
        "setpoint status -s hello",
        "setpoint down",
    ):
        teller.say(line)


def _activation() -> tuple[str, ...]:
    """Return the line that puts ``setpoint`` on the PATH, when it is not there."""
    if shutil.which("setpoint"):
        return ()
    activate = Path(sys.prefix) / "bin" / "activate"
    shown = os.path.relpath(activate) if activate.is_relative_to(Path.cwd()) else str(activate)
    return (f". {shown}",)
