"""The running stack as its state directory remembers it: who supervises it, and whether that process still lives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from setpoint.runtime import process_start


def running(state_dir: Path) -> dict[str, Any] | None:
    """Return the facts of the stack that runs in ``state_dir``, None when none does."""
    path = state_dir / "stack.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts if process_start(int(facts["supervisor"])) == facts["supervisor_start"] else None
