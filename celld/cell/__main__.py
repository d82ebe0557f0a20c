"""The zygote: a warm, single-threaded process that forks cells. Started by celld as ``python -P -m celld.cell FD``.

FD is a SEQPACKET socket: celld sends ``["fork", n, label]`` with the cell's end of its pipe; the zygote answers
``["forked", n, pid]`` and reports ``["exit", pid, code]``. It ends when celld closes that socket, and every cell ends
with it. It must never start a thread, open a file that a cell would inherit, or know a secret.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn

import msgspec
from setproctitle import setproctitle

from celld.cell import loop
from celld.cell.wire import EXIT_DECIDE, EXIT_REPLAY

_PR_SET_PDEATHSIG: Final = 1
_MESSAGE_BYTES_MAX: Final = 4096
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl


def main() -> None:
    """Serve fork requests until celld is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    setproctitle("setpoint: zygote")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # celld decides when it is over, by closing the control socket
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # celld died: so do we
        while True:
            ready = {number for number, _ in poll.poll()}
            if woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
            _report_exits(control)
            if control.fileno() in ready and not _serve(control):
                break
    os._exit(0)


def _serve(control: socket.socket) -> bool:
    """Answer one request; False when celld is gone."""
    content, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES_MAX, 1)
    if not content:
        return False
    word, n, label = msgspec.msgpack.decode(content, type=tuple[str, int, str])
    assert word == "fork" and len(descriptors) == 1, "a fork request brings one descriptor"
    pid = _fork(descriptors[0], label)
    os.close(descriptors[0])
    control.send(msgspec.msgpack.encode(("forked", n, pid)))
    return True


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.send(msgspec.msgpack.encode(("exit", pid, os.waitstatus_to_exitcode(status))))


def _fork(pipe: int, label: str) -> int:
    assert len(os.listdir("/proc/self/task")) == 1, "a thread in the zygote would leave its locks to the cells"
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become_cell(zygote, pipe, label)
        finally:
            os._exit(EXIT_DECIDE)
    return pid


def _become_cell(zygote: int, pipe: int, label: str) -> NoReturn:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != zygote:  # it died before the line above, so its death will not reach us any more
        os._exit(0)
    signal.set_wakeup_fd(-1)
    for name in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(name, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)
    kept = os.dup2(pipe, 3, inheritable=False) if pipe != 3 else 3
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    setproctitle(f"setpoint: cell {label}")
    try:
        loop.serve(socket.socket(fileno=kept), label)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # celld is gone: nobody to tell
    except BaseException as error:  # noqa: BLE001 - the entry point of a cell: say it on celld's log and die
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        os._exit(EXIT_REPLAY if isinstance(error, loop.ReplayFailed) else EXIT_DECIDE)
    os._exit(0)


if __name__ == "__main__":
    main()
