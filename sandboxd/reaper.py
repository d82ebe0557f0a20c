"""What a predecessor left: its processes are proven gone and its runs marked, before this process listens.

``__main__`` calls this once, before the event loop exists, while it holds the lock of the state directory. A sandbox
dies with its daemon; this is the proof of it, and the cure where it is not so.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable

from sandboxd.jail.driver import marker
from sandboxd.jail.process import marked
from sandboxd.ledger import Ledger
from setpoint import runtime

_GONE_S_MAX = 10.0


class NotGone(Exception):
    """A process of a predecessor cannot be killed; the text names it."""


def clear_predecessor(ledger: Ledger) -> list[str]:
    """Kill what is left of earlier runs, wait until it is gone, mark those runs interrupted; return their ids.

    Processes are found by the pid and start time in the ledger, and by the marker all of them carry: a sandbox whose
    outer process died first is found by the second. Raises NotGone after ten seconds.
    """
    left = ledger.running()
    boot = runtime.boot_id()
    known = [run.pid for run in left if run.boot_id == boot and _alive(run.pid, run.pid_start)]
    deadline = time.monotonic() + _GONE_S_MAX
    _kill_all((pid for pid in known if pid is not None), deadline)
    while remaining := marked(marker(ledger.ledger_id)):
        _kill_all(remaining, deadline)
    for run in left:
        ledger.end(run.spec.run_id, "interrupted", {}, runtime.now_us())
    return [run.spec.run_id for run in left]


def _alive(pid: int | None, start: int | None) -> bool:
    return pid is not None and start is not None and runtime.process_start(pid) == start


def _kill_all(pids: Iterable[int], deadline: float) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                gone, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(descriptor)
            if not gone:
                raise NotGone(f"process {pid} of an earlier run does not die")
