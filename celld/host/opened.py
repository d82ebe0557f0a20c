"""What a life of a session knows of one run: that it may be alive, or how far its start has come.

Kept by ``runs``. Nothing here outlives the life; the next one asks the sandbox host.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from setpoint.contracts import run


@dataclass
class Open:
    """A run that may be alive. ``attached``: its results come by the link that is up now."""

    changes_things: bool
    orphan_timeout_s: float
    attached: bool = False


@dataclass
class Starting:
    """A start that has not been answered. ``frame`` is fixed once made, with its token, so that it can be repeated.

    ``sent``: it may have begun to run; only a refusal that proves the opposite takes that back. ``lost_until_s``: until
    when a sending without an answer may be let in. ``until_s``: when it is over for certain, wherever it runs. Both are
    of CLOCK_BOOTTIME.
    """

    task: asyncio.Task[None]
    frame: run.Start | None = None
    host: str = ""
    sent: bool = False
    lost_until_s: float = 0.0
    until_s: float = math.inf
