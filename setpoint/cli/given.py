"""``--var NAME=VALUE``: what ``${NAME}`` stands for in a project. For commands that compile one; decides nothing."""

from __future__ import annotations

import click


def _by_name(context: click.Context, option: click.Parameter, written: tuple[str, ...]) -> dict[str, str]:
    """Read ``NAME=VALUE`` texts. A name without a value, or one that is given twice, is a mistake of the caller."""
    given: dict[str, str] = {}
    for text in written:
        name, equals, value = text.partition("=")
        if not equals or name in given:
            reason = "is given twice" if equals else "is not of the form NAME=VALUE"
            raise click.BadParameter(f"{name!r} {reason}", context, option)
        given[name] = value
    return given


VARIABLES = click.option(
    "--var",
    "variables",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_by_name,
    help="What ${NAME} stands for in environments; repeatable. It is stored with the project: no secrets.",
)
"""Gives a command the parameter ``variables``: values by name."""
