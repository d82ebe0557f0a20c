"""Faults of a project as other programs read them: one JSON document, or annotations of a pull request. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from setpoint.contracts.problem import Fault


def as_json(assets: Sequence[str], faults: Sequence[Fault]) -> str:
    """Return the verdict on a project: whether it is valid, its assets, and every fault with its place."""
    listed = [
        {
            "code": fault.code,
            "message": fault.message,
            "file": fault.file,
            "line": fault.line,
            "column": fault.column,
            "hint": fault.hint,
        }
        for fault in faults
    ]
    return json.dumps({"valid": not faults, "assets": list(assets), "errors": listed}, indent=2, sort_keys=True)


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
        yield f"::error {properties + ',' if properties else ''}{title}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
