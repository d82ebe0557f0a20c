"""The shipped versions: numbered without a gap, and refused when the folder holds anything else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from migrations import catalogue


def test_the_shipped_versions_count_from_one() -> None:
    steps = catalogue.known()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert catalogue.newest() == len(steps)
    assert all(len(step.checksum) == 64 and step.script.startswith("-- ") for step in steps)


def test_the_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_bytes(b"SELECT 1;\r\n")
    (step,) = catalogue.known(tmp_path)
    assert (step.name, step.checksum) == ("first", hashlib.sha256(b"SELECT 1;\r\n").hexdigest())


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["0001_a.sql", "0003_c.sql"], "without a gap"),
        (["0002_b.sql"], "without a gap"),
        (["0001_a.sql", "0001_b.sql"], "without a gap"),
        (["1_a.sql"], "not named"),
        (["0001_A.sql"], "not named"),
    ],
)
def test_gaps_and_strangers_are_refused(tmp_path: Path, names: list[str], fault: str) -> None:
    for name in names:
        (tmp_path / name).write_text("-- x")
    with pytest.raises(ValueError, match=fault):
        catalogue.known(tmp_path)


def test_no_version_drops_or_turns_off_security() -> None:
    for step in catalogue.known():
        assert "NO FORCE" not in step.script and "DISABLE ROW LEVEL" not in step.script
