"""The root of the ``setpoint`` command: global flags, exit codes, and which file holds which command.

Commands are imported when they are used, so that ``setpoint --help`` stays quick. Exit codes: conventions.md.
"""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from typing import Any, Final, NoReturn

import click

from setpoint.contracts.problem import Problem

_COMMANDS: Final = {
    "up": ("stack", "Start a whole stack on this machine"),
    "down": ("stack", "Stop the stack that `up` started"),
    "demo": ("demo", "See it converge and heal, in a minute, leaving nothing behind"),
    "init": ("project", "Write a small project to start from"),
    "validate": ("project", "Check a project without a server"),
    "schema": ("project", "Print the JSON Schema of what you write"),
    "apply": ("project", "Make a project the session's desired state"),
    "status": ("asset", "Show the assets of a session"),
    "evaluate": ("asset", "Evaluate assets now"),
    "sync": ("asset", "Sync assets now, in dependency order"),
    "suspend": ("control", "Stop automatic syncs of assets"),
    "resume": ("control", "Allow them again and forget failures"),
    "halt": ("control", "Stop automatic syncs of a whole session"),
    "unhalt": ("control", "Allow them again"),
    "cancel": ("asset", "Cancel a command, or the running sync of an asset"),
    "explain": ("explain", "Say why an asset is not Ready, or idle"),
    "history": ("past", "List the syncs and evaluations of an asset"),
    "inspect": ("past", "Show the conditions before and after each sync"),
    "graph": ("graph", "Draw what is made of what"),
    "events": ("stream", "Show or follow the events of a session"),
    "logs": ("stream", "Show or follow the output of an asset's executions"),
    "session": ("session", "List, create and close sessions"),
    "host": ("host", "List the hosts a broker knows"),
}

_EPILOG: Final = (
    "Exit codes: 0 ok, 1 negative answer (drifted, failed), 2 usage, 3 authentication, 4 not found, 5 conflict, "
    "6 time-out of a wait, 7 server or network, 8 quota, 10 bug, 130 interrupted."
)


class _Lazy(click.Group):
    """A group that imports a command's file only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"setpoint.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--server", metavar="URL", help="Gateway to speak to (SETPOINT_SERVER).")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), help="How to print data (SETPOINT_OUTPUT).")
@click.version_option(metadata.version("setpoint"), prog_name="setpoint")
def cli(server: str | None, output: str | None) -> None:
    """Setpoint keeps data at its setpoint: declare the state it should be in, and it is brought back there."""


def main() -> NoReturn:
    """Run the CLI and exit with the documented code."""
    try:
        code: Any = cli(standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Problem as problem:
        print_problem(problem)
        sys.exit(problem.kind.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as bug:  # an entry point: say what it is and how to report it
        import traceback

        traceback.print_exc()
        click.echo(f"setpoint: this is a bug: {type(bug).__name__}: {bug}", err=True)
        sys.exit(10)
    sys.exit(code if isinstance(code, int) else 0)


def print_problem(problem: Problem) -> None:
    """Print a problem on stderr: every fault with its place first, then the summary."""
    for fault in problem.errors:
        place = ":".join(str(part) for part in (fault.file, fault.line, fault.column) if part) or fault.pointer
        hint = f" ({fault.hint})" if fault.hint else ""
        click.echo(f"{place + ': ' if place else ''}{fault.message}{hint} [{fault.code}]", err=True)
    click.echo(f"setpoint: {problem.detail} [{problem.code}]", err=True)
