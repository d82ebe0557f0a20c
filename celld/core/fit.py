"""Keeping what an event says within its bound, whatever a tenant's commands print or are called.

Called where a payload holds texts of the tenant. What is cut is for people and readers; no fold depends on it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from setpoint.contracts.codec import canonical_json
from setpoint.contracts.run import OutputRef, StepResult

PART_BYTES_MAX: Final = 20 * 1024
"""The largest part of a payload that grows with a tenant's texts; the whole stays below limits.EVENT_BYTES_MAX."""

_DETAIL_CHARS_MAX: Final = 500
_TAIL_CHARS: Final = 1000


def fits(value: object) -> bool:
    """Tell whether a part of a payload is small enough, as it is encoded."""
    return len(canonical_json(value)) <= PART_BYTES_MAX


def first_of(items: list[Any], bytes_max: int = PART_BYTES_MAX) -> list[Any]:
    """Return as many of the first items as fit."""
    used, kept = 2, 0
    for item in items:
        used += len(canonical_json(item)) + 1
        if used > bytes_max:
            break
        kept += 1
    return items[:kept]


def shortened(result: StepResult) -> StepResult:
    """Return a step's result with its texts short enough for an event: control characters grow when encoded."""
    result = replace(result, detail=result.detail[:_DETAIL_CHARS_MAX])
    if fits(result):
        return result
    return replace(result, stdout=_cut(result.stdout), stderr=_cut(result.stderr))


def document(result: StepResult) -> dict[str, Any]:
    """Return a step's result as events hold it."""
    fields: dict[str, Any] = msgspec.to_builtins(shortened(result))
    return fields


def _cut(output: OutputRef) -> OutputRef:
    return replace(output, tail=output.tail[-_TAIL_CHARS:])
