"""Reading postmaster.pid: whole, half written, absent, and of a process that is something else by now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from setpoint.local.postgres_process import PidFile, Postmaster, drop_stale_pid_file, read_pid_file

WHOLE = "{pid}\n{dir}\n1763722800\n5433\n/run/x\n127.0.0.1\n  1 2\nready   \n"


def write(directory: Path, text: str) -> Path:
    (directory / "postmaster.pid").write_text(text)
    return directory


def test_a_whole_file(tmp_path: Path) -> None:
    write(tmp_path, WHOLE.format(pid=77, dir=tmp_path))
    assert read_pid_file(tmp_path) == PidFile(77, 5433, ready=True)


@pytest.mark.parametrize("text", ["", "77\n", "77\n/x\n1\n", "x\n/x\n1\n5433\n"])
def test_a_half_written_file_says_nothing(tmp_path: Path, text: str) -> None:
    assert read_pid_file(write(tmp_path, text)) is None


def test_starting_is_not_ready(tmp_path: Path) -> None:
    write(tmp_path, WHOLE.format(pid=77, dir=tmp_path).replace("ready   ", "starting"))
    assert read_pid_file(tmp_path) == PidFile(77, 5433, ready=False)


def test_no_file_no_server(tmp_path: Path) -> None:
    assert read_pid_file(tmp_path) is None
    assert Postmaster.find(tmp_path) is None


def test_a_process_that_took_over_the_number_is_no_server(tmp_path: Path) -> None:
    write(tmp_path, WHOLE.format(pid=os.getpid(), dir=tmp_path))
    assert Postmaster.find(tmp_path) is None
    drop_stale_pid_file(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_the_file_of_a_process_that_is_gone_is_left_to_postgres(tmp_path: Path) -> None:
    write(tmp_path, WHOLE.format(pid=2**22 + 1, dir=tmp_path))
    assert Postmaster.find(tmp_path) is None
    drop_stale_pid_file(tmp_path)
    assert (tmp_path / "postmaster.pid").exists()
