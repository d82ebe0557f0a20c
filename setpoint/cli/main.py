"""The root of the ``setpoint`` command: global flags, exit codes, and which file holds which command.

Commands are imported when they are used, so that ``setpoint --help`` stays quick. Exit codes: conventions.md.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib import metadata
from typing import Any, Final, NoReturn

import click

from setpoint.cli.context import EXIT_TIMEOUT, OUTPUTS, note
from setpoint.cli.faults import as_line
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
    "recover": ("control", "Take a failed session up again"),
    "cancel": ("asset", "Cancel a command, or the running sync of an asset"),
    "explain": ("explain", "Say why an asset is not Ready, or idle"),
    "history": ("past", "List the syncs and evaluations of an asset"),
    "inspect": ("past", "Show the conditions before and after each sync"),
    "graph": ("graph", "Draw what is made of what"),
    "events": ("stream", "Show or follow the events of a session"),
    "logs": ("stream", "Show or follow the output of an asset's executions"),
    "verify": ("verify", "Check a session's whole log: nothing lost, nothing doubled"),
    "session": ("session", "List, create and close sessions"),
    "lock": ("lock", "List and break the locks that syncs hold"),
    "host": ("host", "List the hosts, empty one, or declare one dead"),
}

_EPILOG: Final = (
    "Exit codes: 0 ok, 1 negative answer (drifted, failed), 2 usage or a faulty project, 3 authentication, "
    "4 not found, 5 conflict, 6 time-out of a wait, 7 server or network, 8 quota, 10 bug, 130 interrupted."
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
        _take_global_flags(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _global_flags() -> tuple[click.Option, click.Option]:
    """Make ``--server`` and ``--output`` for a command, so that they may also stand behind its name."""
    return (
        click.Option(["--server"], metavar="URL", expose_value=False, callback=_remember, hidden=True),
        click.Option(
            ["-o", "--output"],
            type=click.Choice(OUTPUTS),
            expose_value=False,
            callback=_remember,
            help="How to print data.",
        ),
    )


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and param.name:
        ctx.find_root().params[param.name] = value


def _take_global_flags(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _take_global_flags(child)
    elif not any(param.name == "output" for param in command.params):
        command.params.extend(_global_flags())


@click.group(cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--server", metavar="URL", help="Gateway to speak to (SETPOINT_SERVER).")
@click.option("-o", "--output", type=click.Choice(OUTPUTS), help="How to print data (SETPOINT_OUTPUT).")
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
    except TimeoutError:
        note("setpoint: gave up waiting; what was asked for goes on")
        sys.exit(EXIT_TIMEOUT)
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
        note(as_line(fault))
    note(f"setpoint: {problem.detail} [{problem.code}]")
