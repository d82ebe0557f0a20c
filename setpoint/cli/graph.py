"""``setpoint graph``: what is made of what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from setpoint.cli import asset, context, draw, svg
from setpoint.cli.given import VARIABLES
from setpoint.contracts.problem import Problem

_DRAWN: Final = {"ascii": draw.ascii_tree, "dot": draw.dot, "mermaid": draw.mermaid, "svg": svg.svg}


@click.command()
@click.argument("assets", nargs=-1, metavar="[SELECTOR]...")
@asset.SESSION
@asset.EXCLUDE
@click.option("-o", "--output", type=click.Choice([*_DRAWN, "json"]), help="How to draw it (default: ascii).")
@click.option(
    "--dir", "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A project on disk."
)
@VARIABLES
def graph(
    assets: tuple[str, ...],
    named: str | None,
    exclude: tuple[str, ...],
    output: str | None,
    directory: Path | None,
    variables: Mapping[str, str],
) -> None:
    """Draw the selected assets (none selected: all) of a session, or of a project on disk, which needs no server."""
    found = _of_project(directory, variables) if directory is not None else _of_session(named)
    shown = asset.selected(found, assets, exclude)
    names = {one["name"] for one in shown}
    upstreams = {one["name"]: [above for above in one["upstreams"] if above in names] for one in shown}
    states = {one["name"]: str(one["state"]) for one in shown if one.get("state")}
    how = output or ("json" if context.settings().output == "json" else "ascii")
    if how == "json":
        nodes = [{"name": name, "upstreams": above, "state": states.get(name)} for name, above in upstreams.items()]
        click.echo(json.dumps(nodes, indent=2, sort_keys=True))
    else:
        click.echo(_DRAWN[how](upstreams, states))


def _of_session(named: str | None) -> list[dict[str, Any]]:
    name = context.session_of(named)
    with context.client() as api:
        return list(api.pages(f"/v1/sessions/{name}/assets"))


def _of_project(directory: Path, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    from setpoint.cli.project import compiled_at

    compiled = compiled_at(directory, None, variables).compiled
    if compiled is None:
        raise Problem("validation-failed", f"{directory} does not compile: setpoint validate {directory}")
    return [
        {"name": name, "upstreams": list(one.upstreams), "labels": one.labels} for name, one in compiled.assets.items()
    ]
