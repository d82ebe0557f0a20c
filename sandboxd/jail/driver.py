"""What the runner asks of a jail, whichever isolates: start a step in a place, and say what holds.

Drivers: ``bwrap`` isolates, ``plain`` does not and says so in every result. The runner knows only this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sandboxd.jail.process import Process
from setpoint.contracts.run import Step


class JailMissing(Exception):
    """This host cannot isolate; the text is one line that says what is missing and what to type."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step runs: its workspace on this host, and the account it runs as (None: this process's own)."""

    workspace: Path
    uid: int | None


class Jail(Protocol):
    """A way to run one step."""

    @property
    def enforced(self) -> Mapping[str, str]:
        """What holds for every step: ``isolation``, and a word per limit, ``none`` where nothing is enforced."""

    def spawn(self, place: Place, run_id: str, step: Step) -> Process:
        """Start a step behind its gate. Raises OSError when there is no room for it, ValueError when it cannot be."""


def marker(ledger_id: str) -> str:
    """Return the word every process of this host's steps carries, so that a successor can find them.

    It is a legal name of a variable: shells drop others from the environment they pass on.
    """
    return f"SETPOINT_SANDBOX_{ledger_id.replace('-', '_')}"


def step_marker(run_id: str, index: int) -> str:
    """Return the word that the processes of one step carry, a legal name of a variable as well."""
    return f"SETPOINT_STEP_{run_id.replace('-', '_')}_{index}"


def in_memory(content: bytes) -> int:
    """Return a descriptor that reads ``content`` from its start; unlike a pipe it has no small limit."""
    descriptor = os.memfd_create("sandbox-input")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
