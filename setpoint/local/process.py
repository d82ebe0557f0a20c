"""One supervised daemon: start it, watch it, restart it with back-off, stop it. Decides nothing about sessions.

``setpoint.local.stack`` runs one of these per daemon. A daemon that dies is started again, at most five times a minute,
and every restart is said aloud; a daemon that exits with 2 has bad settings and is not started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from setpoint.runtime import EXIT_CONFIG

RESTARTS_PER_MINUTE_MAX: Final = 5
_BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_STOP_S: Final = 10.0
_WORDS_MAX: Final = 300


class StackFailed(Exception):
    """The stack cannot start or go on; the text is one line for the operator: what, why, and what to type."""


class DaemonFailed(StackFailed):
    """A daemon cannot be kept running; the text says which, why, and where its log is."""


class Daemon:
    """A child process ``python -P -m module`` with an environment of its own and a log file.

    A changed ``environment`` counts from the next start on. ``started`` is called after every start.
    """

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        log_path: Path,
        say: Callable[[str], None],
        arguments: tuple[str, ...] = (),
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self._module, self._arguments = name, module, arguments
        self.environment, self.log_path, self._say = dict(environment), log_path, say
        self._started = started
        self._process: asyncio.subprocess.Process | None = None
        self._starts: list[float] = []
        self._log_offset = 0
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Return the pid of the running process, None when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process; returns at once."""
        self._starts.append(time.monotonic())
        # A session of its own: Ctrl-C at the terminal is the supervisor's to handle. A supervisor that is killed leaves
        # its daemons running, which the sessions on them outlive unharmed; the next start ends them (facts.py).
        with self.log_path.open("ab") as log:
            self._log_offset = log.seek(0, os.SEEK_END)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                self._module,
                *self._arguments,
                env=self.environment,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started()

    async def keep(self) -> None:
        """Restart the process whenever it dies, until stopped. Raises DaemonFailed when that does not help."""
        while self._process is not None:
            code = await self._process.wait()
            if self._stopping:
                return
            if code == EXIT_CONFIG:
                raise DaemonFailed(f"{self.name} refuses its settings: {self.last_words()}")
            recent = [at for at in self._starts if at > time.monotonic() - 60]
            if len(recent) > RESTARTS_PER_MINUTE_MAX:
                often = f"{self.name} died {len(recent)} times within a minute"
                raise DaemonFailed(f"{often}; its last words: {self.last_words()}; its log: {self.log_path}")
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._say(f"{self.name} died ({how}); starting it again")
            await asyncio.sleep(_BACKOFF_S[min(len(recent), len(_BACKOFF_S)) - 1])
            if not self._stopping:
                await self.start()

    def last_words(self) -> str:
        """Return the end of what the daemon logged since its latest start, in one line that a person can read."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_offset)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return " | ".join(_plain(line) for line in lines[-3:])

    async def stop(self) -> None:
        """Stop the process: SIGTERM, then SIGKILL to its whole session when it does not end in time. Idempotent."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            self._say(f"{self.name} does not stop; killing it")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _plain(line: str) -> str:
    """Return a line of a JSON log as ``event: why``; any other line as it is, cut to a readable length."""
    with contextlib.suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict) and "event" in entry:
            why = entry.get("why") or entry.get("error") or str(entry.get("exception", "")).strip().rpartition("\n")[2]
            line = f"{entry['event']}: {why}" if why else str(entry["event"])
    return line[:_WORDS_MAX]
