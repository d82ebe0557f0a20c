"""Accounts for the sandboxes of tests: every test process has a range of its own.

The kernel counts processes per account, and a sandbox host that sweeps up kills what runs under its accounts: two test
processes that share accounts would meet there.
"""

from __future__ import annotations

import os
from typing import Final

RANGE: Final = 400_000


def sandbox_uid_first() -> int:
    """Return the first account of this process's range."""
    return 1_000_000 + os.getpid() % 5_000 * RANGE
