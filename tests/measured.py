"""What a daemon under test inherits although its environment is made from nothing: that its coverage is measured."""

from __future__ import annotations

import os

_MEASURES = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def measured() -> dict[str, str]:
    """Return the variables by which `make coverage` reaches into processes; none at other times."""
    return {name: os.environ[name] for name in _MEASURES if name in os.environ}
