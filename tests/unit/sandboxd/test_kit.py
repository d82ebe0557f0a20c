"""The kit: whole, readable by every account, found again, and never the reason why a host does not start."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sandboxd.jail.kit import Kit, make_kit


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A kit of this interpreter."""
    return make_kit(tmp_path_factory.mktemp("kits"))


def test_the_program_runs_from_it_alone_and_caches_nothing(kit: Kit, tmp_path: Path) -> None:
    before = sorted(kit.directory.rglob("*"))
    question = tmp_path / "question"
    question.write_text(json.dumps({"engine": "sqlite", "path": "missing", "query": "select 1"}))
    descriptor = os.open(question, os.O_RDONLY)
    try:
        command = kit.command(str(kit.directory), descriptor)
        env = kit.environment(str(kit.directory))
        done = subprocess.run(command, pass_fds=[descriptor], env=env, cwd=tmp_path, capture_output=True, text=True)
    finally:
        os.close(descriptor)
    assert (done.returncode, done.stdout) == (2, "missing: there is no such file\n"), done.stderr
    assert sorted(kit.directory.rglob("*")) == before


def test_everything_in_it_can_be_read_by_every_account(kit: Kit) -> None:
    modes = {path.stat().st_mode & (0o555 if path.is_dir() else 0o444) for path in kit.directory.rglob("*")}
    assert modes == {0o555, 0o444}


def test_it_is_found_again_and_one_of_an_earlier_version_is_removed(kit: Kit) -> None:
    old = kit.directory.with_name("probe-000000000000")
    old.mkdir()
    assert make_kit(kit.directory.parent) == kit
    assert not old.exists()


def test_what_went_wrong_is_a_fault_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broken = make_kit(tmp_path / "file" / "bin")
    assert "NotADirectoryError" in broken.fault
    with pytest.raises(ValueError, match="this sandbox host cannot ask databases: NotADirectoryError"):
        broken.command("/setpoint", 3)
