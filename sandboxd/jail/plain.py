"""The driver that does not isolate: a plain subprocess in the workspace, for hosts where nothing else works.

Chosen only by ``--unsafe-no-isolation``. It never claims to hold anything: a command sees the host's files and network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Mapping

import msgspec

from sandboxd.core import plan
from sandboxd.jail.driver import Place, in_memory, marker
from sandboxd.jail.kit import Kit
from sandboxd.jail.process import Process, marked
from setpoint.contracts.run import Step


class PlainJail:
    """Runs steps as subprocesses. As root they run as the session's own account, otherwise as this process's own."""

    def __init__(self, ledger_id: str, kit: Kit) -> None:
        self._marker, self._kit = marker(ledger_id), kit
        self.enforced: Mapping[str, str] = {"isolation": "none", "unsafe": "yes"}

    def spawn(self, place: Place, run_id: str, step: Step) -> Process:
        """Start a step; see ``driver.Jail``."""
        env = plan.environment(step, home=str(place.workspace))
        mine = f"{run_id}.{step.index}"
        if step.probe is not None:
            question = in_memory(msgspec.json.encode(step.probe))
            try:
                seen_at = str(self._kit.directory)
                argv = self._kit.command(seen_at, question)
                return self._process(place, argv, env | self._kit.environment(seen_at), mine, (question,))
            finally:
                os.close(question)
        named = str(place.workspace / step.argv[0]) if "/" in step.argv[0] else step.argv[0]
        if shutil.which(named, path=env["PATH"]) is None:
            raise ValueError(f"{step.argv[0]}: no such command")
        return self._process(place, step.argv, env, mine, ())

    def _process(
        self, place: Place, argv: tuple[str, ...], env: Mapping[str, str], mine: str, pass_fds: tuple[int, ...]
    ) -> Process:

        def sweep() -> None:
            # What left the process group still carries the environment it was started with, unless it took care not to.
            for pid in marked(f"{self._marker}={mine}"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        return Process(
            argv,
            limit_processes=False,
            uid=place.uid,
            env={**env, self._marker: mine},
            pass_fds=pass_fds,
            cwd=str(place.workspace),
            sweep=sweep,
            word=f"{self._marker}={mine}",
        )
