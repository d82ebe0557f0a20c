"""Named SQL: a ``.sql`` file beside its reader, split into blocks.

Every store and the runner read their statements with this at import. A block starts with ``-- name: word`` and goes to
the next one; the comment lines right below the name say why it exists, and are not sent. Nothing here talks to a
database or builds SQL from values: values travel as ``$1`` parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_NAME = re.compile(r"^--\s*name:\s*(\S+)\s*$")
_WORD = re.compile(r"^[a-z][a-z0-9_]*$")


def parse(text: str, source: str = "<text>") -> Mapping[str, str]:
    """Split ``text`` into its named blocks, in their order.

    Raises ValueError naming ``source`` and the line when a name is malformed or given twice, when a block does not
    say why it exists or is empty, or when SQL stands before the first name.
    """
    blocks: dict[str, str] = {}
    name, start = "", 0
    lines = text.splitlines()
    for number, line in enumerate([*lines, "-- name: end"], start=1):
        match = _NAME.match(line)
        if match is None:
            continue
        body = lines[start : number - 1]
        if name:
            blocks[name] = _statement(body, f"{source}:{start}: block {name!r}")
        elif any(part.strip() and not part.lstrip().startswith("--") for part in body):
            raise ValueError(f"{source}: SQL before the first '-- name:' line")
        name, start = match.group(1), number
        if number <= len(lines) and (not _WORD.match(name) or name in blocks):
            raise ValueError(f"{source}:{number}: {name!r} is no new lower-case word")
    return MappingProxyType(blocks)


def read(path: Path) -> Mapping[str, str]:
    """Read the named blocks of the file at ``path``. Raises OSError or ValueError: the installation is broken."""
    return parse(path.read_text(encoding="utf-8"), path.name)


def beside(module_file: str) -> Mapping[str, str]:
    """Read the ``.sql`` file that stands beside a module under the same name: ``SQL = named.beside(__file__)``."""
    return read(Path(module_file).with_suffix(".sql"))


def _statement(body: list[str], place: str) -> str:
    """Drop the why-lines at the head of a block and return its statement."""
    kept = list(body)
    whys = 0
    while kept and kept[0].startswith("--"):
        whys += len(kept.pop(0).strip("- ")) > 0
    statement = "\n".join(kept).strip().removesuffix(";").strip()
    if not whys:
        raise ValueError(f"{place} has no line that says why it exists")
    if not statement:
        raise ValueError(f"{place} is empty")
    return statement
