"""``setpoint init | validate | apply``: a project on disk."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from setpoint.cli import context, faults, table, wait
from setpoint.cli.given import VARIABLES
from setpoint.client.api import Client
from setpoint.contracts import limits
from setpoint.contracts.problem import Fault, Problem
from setpoint.contracts.resource.origin_files import is_manifest, mentions_origin

if TYPE_CHECKING:
    from setpoint.contracts.resource.compile import CompileResult


_UPLOADS_AT_ONCE: Final = 8
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "target"})
_DIRECTORY = click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")


def read_project(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Read a project's files: POSIX path -> (content, mode). Hidden files and caches are left out.

    Of what dbt writes into ``target`` the manifest is taken when an Origin may name it. Raises Problem when the project
    is larger than the limits or holds something that is no plain file.
    """
    reading = _Reading(directory)
    manifests: list[tuple[Path, str]] = []
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        name = "/".join(parts)
        skipped = [part for part in parts if part.startswith(".") or part in _SKIPPED]
        if path.is_dir() and not path.is_symlink():
            continue
        if not skipped:
            reading.take(path, name)
        elif skipped == ["target"] and is_manifest(name):
            manifests.append((path, name))
    if any(mentions_origin(name, content) for name, (content, _) in reading.found.items()):
        for path, name in manifests:
            reading.take(path, name)
    return reading.found


@dataclass
class _Reading:
    """The files of a project as they are read. Their sizes are bounded together."""

    directory: Path
    found: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    size: int = 0

    def take(self, path: Path, name: str) -> None:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            raise Problem("validation-failed", f"{name} is not a plain file; links and devices cannot be applied")
        self.size += facts.st_size
        if len(self.found) >= limits.PROJECT_FILES_MAX or self.size > limits.PROJECT_BYTES_MAX:
            most = f"{limits.PROJECT_FILES_MAX} files or {limits.PROJECT_BYTES_MAX >> 20} MiB"
            raise Problem("payload-too-large", f"{self.directory} has more than {most}")
        try:
            self.found[name] = (path.read_bytes(), 0o755 if facts.st_mode & 0o100 else 0o644)
        except OSError as error:
            raise click.ClickException(f"cannot read {path}: {error.strerror}") from error


def upload(
    api: Client,
    session: str,
    files: dict[str, tuple[bytes, int]],
    evaluate: bool,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Store the files as blobs and enqueue the apply; returns the accepted command. Raises Problem with all faults."""
    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as several:  # the server syncs each to its disk: their waits overlap
        digests = list(several.map(api.put_blob, [content for content, _ in files.values()]))
    manifest = [
        {"path": path, "mode": mode, "sha256": sha256}
        for (path, (_, mode)), sha256 in zip(files.items(), digests, strict=True)
    ]
    payload: dict[str, Any] = {"files": manifest} | ({"evaluate": True} if evaluate else {})
    return api.command(session, "apply", payload | ({"variables": dict(variables)} if variables else {}))


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Write a small project into DIRECTORY: two assets, one upstream of the other."""
    source = resources.files("setpoint.local").joinpath("quickstart")
    try:
        if directory.exists() and any(directory.iterdir()):
            raise Problem("conflict", f"{directory} is not empty; choose another directory")
        _copy(source, directory)
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename or directory}: {error.strerror}") from error
    context.done(
        {"directory": str(directory)},
        f"wrote {directory}; next: setpoint validate {directory} && setpoint apply {directory} --wait",
    )


def _copy(source: Any, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for item in source.iterdir():
        if item.is_dir():
            _copy(item, target / item.name)
        else:
            (target / item.name).write_bytes(item.read_bytes())


def compiled_at(
    directory: Path,
    files: dict[str, tuple[bytes, int]] | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> CompileResult:
    """Compile the project in a directory (its ``files`` when they were read), or return all that is wrong with it."""
    from setpoint.contracts.resource.compile import compile_project

    read = read_project(directory) if files is None else files
    return compile_project({path: content for path, (content, _) in read.items()}, variables)


def _sound(directory: Path, files: dict[str, tuple[bytes, int]], variables: Mapping[str, str]) -> CompileResult:
    """Compile a project. Raises Problem validation-failed with every fault when it does not."""
    result = compiled_at(directory, files, variables)
    if result.faults:
        raise Problem("validation-failed", f"{len(result.faults)} fault(s) in {directory}", errors=result.faults)
    return result


@click.command()
@_DIRECTORY
@click.option("-o", "--output", type=click.Choice(["table", "json", "github"]), help="How to print what is found.")
@VARIABLES
def validate(directory: Path, output: str | None, variables: Mapping[str, str]) -> None:
    """Check the project in DIRECTORY and report every fault with its place. Needs no server.

    Warnings are printed, too, and refuse nothing. `-o json` prints the verdict with all of them, `-o github`
    annotations for a pull request; both on stdout.
    """
    result = compiled_at(directory, None, variables)
    how = output or context.settings().output
    problem = Problem("validation-failed", f"{len(result.faults)} fault(s) in {directory}", errors=result.faults)
    names = sorted(result.compiled.assets) if result.compiled is not None else []
    if how == "json":
        click.echo(faults.as_json(names, result.faults, result.warnings))
    elif how == "github":
        for line in faults.github(directory, (*result.faults, *result.warnings)):
            click.echo(line)
    else:
        for warning in result.warnings:
            context.note(faults.as_line(warning))
    if how == "table" and result.compiled is not None:
        table.write([{"valid": True, "assets": names}], (("VALID", "valid"), ("ASSETS", "assets")))
    if result.compiled is None and how == "table":
        raise problem
    if result.compiled is None:
        raise click.exceptions.Exit(problem.kind.exit_code)


@click.command()
@click.argument("which", required=False, type=click.Choice(["resource", "project"]))
def schema(which: str | None) -> None:
    """Print the JSON Schema of a resource file or of the settings file (none named: both), for editors and checks."""
    from setpoint.contracts.resource.schema import documents

    found = documents()
    click.echo(json.dumps(found[which] if which else found, indent=2, sort_keys=True))


@click.command()
@_DIRECTORY
@click.option("--session", "-s", "named", help="Session name or id (default: the directory's name; made if new).")
@click.option("--wait", "waits", is_flag=True, help="Wait until every asset is Ready.")
@click.option("--evaluate", is_flag=True, help="Evaluate every asset, changed or not.")
@click.option("--dry-run", is_flag=True, help="Only say what would be new, changed and gone; nothing is applied.")
@VARIABLES
@click.option("--timeout", default=600.0, show_default=True, help="Longest wait, in seconds.")
def apply(
    directory: Path,
    named: str | None,
    waits: bool,
    evaluate: bool,
    dry_run: bool,
    variables: Mapping[str, str],
    timeout: float,
) -> None:
    """Make the project in DIRECTORY the desired state of a session."""
    if dry_run and (waits or evaluate):
        raise click.UsageError("--dry-run applies nothing: leave out --wait and --evaluate")
    files = read_project(directory)
    name = named or context.session_name(directory)
    if dry_run:
        _preview(directory, name, files, variables)
        return
    with context.client() as api:
        session = _ensure_session(api, name, lambda: _sound(directory, files, variables))
        accepted = upload(api, session["id"], files, evaluate, variables)
        for warning in accepted.pop("warnings", ()):
            context.note(faults.as_line(msgspec.convert(warning, Fault)))
        context.note(f"applied {directory} to session {name}: command {accepted['command_id']}")
        if not waits:
            context.emit(accepted, (("COMMAND", "command_id"), ("SESSION", "session_id"), ("STATUS", "status")))
            return
        _converge(api, name, accepted["command_id"], int(session["head_seq"]), timeout)


def _preview(directory: Path, name: str, files: dict[str, tuple[bytes, int]], variables: Mapping[str, str]) -> None:
    from setpoint.cli import preview

    result = _sound(directory, files, variables)
    for warning in result.warnings:
        context.note(faults.as_line(warning))
    with context.client() as api:
        now = preview.present(api, name)
    if result.compiled is not None:
        preview.show(name, now, preview.preview(now, result.compiled, files))


def _ensure_session(api: Client, name: str, before_creating: Callable[[], object]) -> dict[str, Any]:
    """Return the session of this name or id; one that does not exist is created, unless ``before_creating`` raises.

    So a project that cannot be applied leaves no empty session behind.
    """
    try:
        return api.session(name)
    except Problem as problem:
        if problem.code != "not-found":
            raise
        before_creating()
        return api.create_session(name)


def _converge(api: Client, name: str, command_id: str, after: int, timeout: float) -> None:
    from setpoint.cli import asset, progress

    try:
        ended = wait.for_command(api, name, command_id, timeout)
        if ended["status"] != "succeeded":
            raise Problem("conflict", f"apply ended as {ended['status']}: {(ended.get('result') or {}).get('message')}")
        assets = wait.for_convergence(api, name, after, timeout, progress.show_always)
    except TimeoutError:
        context.note(f"setpoint: not converged after {timeout:g} s; it goes on (setpoint status --session {name})")
        raise click.exceptions.Exit(context.EXIT_TIMEOUT) from None
    context.emit([asset.row(item) for item in assets], asset.COLUMNS)
    if stuck := [item["name"] for item in assets if wait.is_stuck(item)]:
        context.note(f"setpoint: suspended: {', '.join(stuck)}; see why: setpoint logs {stuck[0]} --session {name}")
    if not all(wait.is_settled(item) for item in assets):
        raise click.exceptions.Exit(context.EXIT_NEGATIVE)
