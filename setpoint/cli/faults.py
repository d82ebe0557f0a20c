"""Faults of a project for others: a line for people, one JSON document, annotations of a pull request. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from setpoint.contracts.problem import Fault


def as_line(fault: Fault) -> str:
    """Return a fault as people read it: its place, what it is, what to type instead, and its code."""
    place = ":".join(str(part) for part in (fault.file, fault.line, fault.column) if part) or fault.pointer
    hint = f" ({fault.hint})" if fault.hint else ""
    kind = "warning: " if fault.severity == "warning" else ""
    return f"{place + ': ' if place else ''}{kind}{fault.message}{hint} [{fault.code}]"


def as_json(assets: Sequence[str], faults: Sequence[Fault], warnings: Sequence[Fault]) -> str:
    """Return the verdict on a project: whether it is valid, its assets, and all faults and warnings with places."""
    verdict = {"valid": not faults, "assets": list(assets)}
    verdict |= {"errors": list(map(_fields, faults)), "warnings": list(map(_fields, warnings))}
    return json.dumps(verdict, indent=2, sort_keys=True)


def _fields(fault: Fault) -> dict[str, str | int]:
    return {
        "code": fault.code,
        "message": fault.message,
        "file": fault.file,
        "line": fault.line,
        "column": fault.column,
        "hint": fault.hint,
    }


def github(directory: Path, faults: Sequence[Fault]) -> Iterator[str]:
    """Yield a workflow command per fault, which GitHub shows beside the line; paths are as ``directory`` was given."""
    for fault in faults:
        places = {
            "file": (directory / fault.file).as_posix() if fault.file else "",
            "line": fault.line,
            "col": fault.column,
        }
        properties = ",".join(f"{key}={_property(str(value))}" for key, value in places.items() if value)
        title = f"title={_property(fault.code)}"
        text = fault.message + (f" ({fault.hint})" if fault.hint else "")
        yield f"::{fault.severity} {properties + ',' if properties else ''}{title}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
