"""What every command of the CLI needs: settings by precedence, the client, the session meant, the way to print.

Precedence: flag > environment > ``setpoint.yaml`` of the project > user profile > default (conventions.md).
Data goes to stdout, everything else to stderr. Nothing here decides anything about sessions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from setpoint.cli import table
from setpoint.cli.plain import plain
from setpoint.contracts.problem import Problem

if TYPE_CHECKING:
    from setpoint.client.api import Client

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"
OUTPUTS: Final = ("table", "json")
EXIT_NEGATIVE: Final = 1
EXIT_TIMEOUT: Final = 6
EXIT_UNAVAILABLE: Final = 7


@dataclass(frozen=True, slots=True)
class Settings:
    """The resolved settings of one invocation."""

    server: str
    api_key: str
    output: str
    brokers: str
    operator_key: str


def profile_path(environ: Mapping[str, str]) -> Path:
    """Return where profiles are kept."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "setpoint" / "profiles.json"


def load_profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the profile named by SETPOINT_PROFILE (default ``default``), empty when there is none.

    Raises click.ClickException when the file cannot be used.
    """
    path = profile_path(environ)
    if not path.exists():
        return {}
    try:
        profiles = json.loads(path.read_text())
        return {str(key): str(value) for key, value in profiles.get(_profile_name(environ), {}).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise click.ClickException(f"the profile {path} cannot be used ({error}); mend or remove it") from error


def save_profile(environ: Mapping[str, str], values: Mapping[str, str]) -> Path:
    """Write the profile named by SETPOINT_PROFILE, readable by its owner alone; others are kept."""
    path = profile_path(environ)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    profiles = json.loads(path.read_text()) if path.exists() else {}
    profiles[_profile_name(environ)] = dict(values)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", opener=_private) as file:
        json.dump(profiles, file, indent=2)
    os.replace(temporary, path)  # also when an older one was open to others
    return path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _profile_name(environ: Mapping[str, str]) -> str:
    return environ.get("SETPOINT_PROFILE") or "default"


def _secret(environ: Mapping[str, str], name: str) -> str:
    path = environ.get(name + "_FILE")
    if not path:
        return environ.get(name, "")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise click.ClickException(f"{name}_FILE: cannot read {path}: {error.strerror}") from error


def settings() -> Settings:
    """Resolve the settings of this invocation from the root command's flags, the environment and the profile."""
    flags: Mapping[str, Any] = click.get_current_context().find_root().params
    environ = os.environ
    profile = load_profile(environ)
    output = flags.get("output") or environ.get("SETPOINT_OUTPUT") or "table"
    if output not in OUTPUTS:
        raise click.UsageError(f"SETPOINT_OUTPUT={output!r} is none of {', '.join(OUTPUTS)}")
    return Settings(
        server=flags.get("server") or environ.get("SETPOINT_SERVER") or profile.get("server") or DEFAULT_SERVER,
        api_key=_secret(environ, "SETPOINT_API_KEY") or profile.get("api_key", ""),
        output=output,
        brokers=environ.get("SETPOINT_BROKERS") or profile.get("brokers") or "127.0.0.1:8081",
        operator_key=_secret(environ, "SETPOINT_OPERATOR_KEY") or profile.get("operator_key", ""),
    )


def client() -> Client:
    """Open a client with the resolved settings. Raises Problem unauthenticated when no key is known."""
    from setpoint.client.api import Client

    chosen = settings()
    if not chosen.api_key:
        raise Problem("unauthenticated", "no API key: set SETPOINT_API_KEY, or start a stack of your own: setpoint up")
    return Client(chosen.server, chosen.api_key)


def session_name(directory: Path) -> str:
    """Return the session name that a project directory stands for: its own name, made legal."""
    raw = directory.resolve().name.lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", raw).strip("._-")[:128]
    return name or "project"


def session_of(flag: str | None) -> str:
    """Return the session meant: the flag, SETPOINT_SESSION, or the project in the current directory."""
    named = flag or os.environ.get("SETPOINT_SESSION")
    if named:
        return named
    here = Path.cwd()
    if (here / "setpoint.yaml").exists() or (here / "nagi.yaml").exists() or (here / "resources").is_dir():
        return session_name(here)
    raise click.UsageError("which session? give --session NAME (setpoint session ls shows them)")


def as_json() -> bool:
    """Tell whether data is wanted as JSON."""
    return settings().output == "json"


def note(text: str) -> None:
    """Print a line for the person at the terminal, on stderr."""
    click.echo(plain(text, keep_lines=True), err=True)


def emit(value: object, columns: Sequence[tuple[str, str]] = (), *, empty: str = "") -> None:
    """Print data on stdout: as JSON, or as a table with ``columns`` of (title, key).

    ``empty`` is said on stderr instead of a table without rows.
    """
    if as_json():
        click.echo(json.dumps(value, indent=2, sort_keys=True))
        return
    rows: list[Any] = value if isinstance(value, list) else [value]
    if rows or not empty:
        table.write(rows, columns)
    else:
        note(empty)


def done(value: object, text: str) -> None:
    """End a command that has no data but its success: ``value`` as JSON on stdout, or ``text`` on stderr."""
    if as_json():
        emit(value)
    else:
        note(text)
