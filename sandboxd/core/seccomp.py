"""The system calls a step is refused, as a classic BPF program for bubblewrap's ``--seccomp``. Pure.

A network namespace does not hold every socket: AF_VSOCK reaches the hypervisor from any namespace. So sockets are
of four families only, and io_uring, which makes sockets without the system call, is off. Also off: what a
command never needs and where the kernel broke most often (bpf, perf, userfaultfd, the kernel's keyrings). It is no
full profile: everything else is allowed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

FAMILIES: Final = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what is confined to the namespace."""

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # of struct seccomp_data; the low half of the argument
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_X32_BIT: Final = 0x40000000


@dataclass(frozen=True, slots=True)
class _Machine:
    """The numbers of one architecture: its own, ``socket``, and the calls that are refused."""

    arch: int
    socket: int
    refused: tuple[int, ...]


_MACHINES: Final = {
    # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
    "x86_64": _Machine(0xC000003E, 41, (248, 249, 250, 298, 321, 323)),
    "aarch64": _Machine(0xC00000B7, 198, (217, 218, 219, 241, 280, 282)),
}
_IO_URING: Final = (425, 426, 427)  # the same numbers everywhere


def program(machine: str) -> bytes | None:
    """Return the filter for a machine as ``platform.machine()`` names it, None where none is known.

    A program for another architecture (32-bit code on a 64-bit kernel) is killed: its calls have other numbers.
    """
    known = _MACHINES.get(machine)
    if known is None:
        return None
    lines = [
        _line(_LOAD, _ARCH_AT),
        _line(_EQUAL, known.arch, 1, 0),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER_AT),
        *_when(_AT_LEAST, _X32_BIT, _ERRNO | _ENOSYS),
    ]
    for number in _IO_URING:
        lines += _when(_EQUAL, number, _ERRNO | _ENOSYS)
    for number in known.refused:
        lines += _when(_EQUAL, number, _ERRNO | _EPERM)
    lines += [_line(_EQUAL, known.socket, 1, 0), _line(_RETURN, _ALLOW), _line(_LOAD, _FIRST_ARGUMENT_AT)]
    for family in FAMILIES:
        lines += _when(_EQUAL, family, _ALLOW)
    return b"".join([*lines, _line(_RETURN, _ERRNO | _EAFNOSUPPORT)])


def _when(test: int, value: int, verdict: int) -> list[bytes]:
    return [_line(test, value, 0, 1), _line(_RETURN, verdict)]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
