"""The filter of system calls, carried out by a small interpreter of the instructions it is made of."""

from __future__ import annotations

import struct

import pytest

from sandboxd.core import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003


def verdict(machine: str, arch: int, number: int, argument: int = 0) -> int:
    program = seccomp.program(machine)
    assert program is not None
    lines = list(struct.iter_unpack("=HBBI", program))
    memory = struct.pack("=IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    at = loaded = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", memory, value)
        elif code == 0x06:
            return int(value)
        else:
            assert code in (0x15, 0x35)
            holds = loaded == value if code == 0x15 else loaded >= value
            at += if_true if holds else if_false


@pytest.mark.parametrize(("machine", "arch", "socket"), [("x86_64", X86, 41), ("aarch64", ARM, 198)])
def test_only_sockets_of_the_namespace_can_be_made(machine: str, arch: int, socket: int) -> None:
    allowed = {family for family in range(64) if verdict(machine, arch, socket, family) == ALLOW}
    assert allowed == set(seccomp.FAMILIES)
    assert verdict(machine, arch, socket, 40) == ERRNO | 97
    # The kernel takes the family as 32 bits: what stands above them changes nothing.
    assert verdict(machine, arch, socket, (1 << 32) | 40) == ERRNO | 97


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", X86), ("aarch64", ARM)])
def test_rings_are_off_and_ordinary_calls_are_not(machine: str, arch: int) -> None:
    assert {verdict(machine, arch, number) for number in (425, 426, 427)} == {ERRNO | 38}
    assert {verdict(machine, arch, number) for number in (0, 1, 56, 57, 59, 63, 64, 435)} == {ALLOW}


def test_calls_with_other_numbers_cannot_get_around_it() -> None:
    assert verdict("x86_64", I386, 359, 40) == KILL
    assert verdict("aarch64", X86, 41, 40) == KILL
    assert verdict("x86_64", X86, 0x40000000 | 41, 40) == ERRNO | 38


def test_a_machine_that_is_not_known_has_no_filter() -> None:
    assert seccomp.program("riscv64") is None
