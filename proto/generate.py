"""Writes the tables of frames into ``proto/links.md`` from the contracts, so that the page cannot say anything else.

``make proto`` runs it; ``--check`` only tells whether the page is up to date (exit 1 when it is not). The text between
the markers is generated, all other text is written by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from setpoint.contracts import cell, hint, run

PAGE: Final = Path(__file__).with_name("links.md")
_MARK: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

UNIONS: Final[dict[str, Any]] = {
    "ToBroker": hint.ToBroker,
    "FromBroker": hint.FromBroker,
    "ToCelld": hint.ToCelld,
    "FromCelld": hint.FromCelld,
    "Request": run.Request,
    "Reply": run.Reply,
    "ToCell": cell.ToCell,
    "FromCell": cell.FromCell,
    "Input": cell.Input,
    "Effect": cell.Effect,
}
VALUES: Final[dict[str, tuple[type[Any], ...]]] = {
    "RunValues": (run.ClockToken, run.RunSpec, run.Step, run.StepResult, run.OutputRef),
    "CellValues": (cell.Decision, cell.AssetDoc, cell.LockChange),
}


def render(page: str) -> str:
    """Return ``page`` with every generated part as the contracts are now. Raises KeyError for an unknown mark."""
    return _MARK.sub(lambda match: match[1] + _table(match[2]) + match[3], page)


def _table(name: str) -> str:
    frames = VALUES[name] if name in VALUES else get_args(UNIONS[name])
    head = "value" if name in VALUES else "frame"
    lines = [f"| {head} | fields | what it says |", "|---|---|---|"]
    lines += [f"| `{_tag(frame)}` | {_fields(frame)} | {_says(frame)} |" for frame in frames]
    return "\n".join(lines) + "\n"


def _tag(frame: type[Any]) -> str:
    tag = frame.__struct_config__.tag
    return frame.__name__ if tag is None else str(tag)


def _fields(frame: type[Any]) -> str:
    hints = typing.get_type_hints(frame)
    fields = [
        f"`{field.encode_name}` {_kind(hints[field.name])}{_default(field)}" for field in msgspec.structs.fields(frame)
    ]
    return ", ".join(fields) or "none"


def _default(field: msgspec.structs.FieldInfo) -> str:
    return "" if field.required else "?"


def _says(frame: type[Any]) -> str:
    text = inspect.cleandoc(frame.__doc__ or "")
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _kind(kind: Any) -> str:
    """Write a type in the words of the wire."""
    origin, args = typing.get_origin(kind), get_args(kind)
    if origin is typing.Literal:
        return " or ".join(f"`{arg}`" for arg in args)
    if origin in (typing.Union, types.UnionType):
        return _union(args)
    if origin is tuple and args[-1] is Ellipsis:
        return f"list of {_kind(args[0])}"
    if origin is tuple:
        return f"[{', '.join(_kind(arg) for arg in args)}]"
    if origin is dict:
        return "map" if args[1] is Any else f"map to {_kind(args[1])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind.__name__
    return {str: "text", int: "int", float: "float", bool: "bool", bytes: "bytes", Any: "any"}[kind]


def _union(args: tuple[Any, ...]) -> str:
    for name in ("Input", "Effect"):
        if set(args) == set(get_args(UNIONS[name])):
            return name
    return " or ".join("nil" if arg is type(None) else _kind(arg) for arg in args)


def main() -> int:
    """Write the page, or with ``--check`` only compare it. Returns the exit code."""
    page = PAGE.read_text()
    fresh = render(page)
    if "--check" in sys.argv[1:]:
        return 0 if fresh == page else 1
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
