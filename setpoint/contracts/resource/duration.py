"""Durations as people write them in manifests: everything the humantime notation allows, and whole seconds.

``setpoint.contracts.clock`` reads the short wire form; files written for nagi.io need the long one as well.
"""

from __future__ import annotations

import re
from typing import Final

from setpoint.contracts.resource.source import excerpt

_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([A-Za-z]{1,7})")

_UNITS_S: Final = {
    "ns nsec": 1e-9,
    "us usec": 1e-6,
    "ms msec millis": 1e-3,
    "s sec secs second seconds": 1.0,
    "m min mins minute minutes": 60.0,
    "h hr hrs hour hours": 3600.0,
    "d day days": 86_400.0,
    "w week weeks": 7 * 86_400.0,
    "M month months": 2_630_016.0,
    "y year years": 31_557_600.0,
}
_SECONDS: Final = {unit: seconds for units, seconds in _UNITS_S.items() for unit in units.split()}


def parse_duration_s(value: object) -> float:
    """Read ``30s``, ``1h 30m``, ``2days``, ``500ms`` or a whole number of seconds into seconds.

    Raises ValueError with a text for people when it is none of these.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < 10**12:
            raise ValueError(f"{excerpt(value)} seconds is out of range")
        return float(value)
    wrong = ValueError(f"{excerpt(value)} is not a duration such as 90s, 5m, 1h30m or 7d")
    if not isinstance(value, str) or len(value) > 100:
        raise wrong
    compact = re.sub(r"\s+", "", value)
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise wrong
    for _, unit in parts:
        if unit not in _SECONDS:
            raise ValueError(f"{excerpt(value)}: {unit!r} is no unit of time (s, m, h, d, ...)")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
