"""The link farm: whole, in place, readable by all, and built once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from setpoint.local.farm import link_farm, link_files


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two directories that refer to each other, as a wheel's program and its libraries do."""
    root = tmp_path / "site"
    (root / "pkg" / "tree" / "bin").mkdir(parents=True)
    (root / "pkg.libs").mkdir()
    program = root / "pkg" / "tree" / "bin" / "program"
    program.write_text("program")
    program.chmod(0o755)
    (root / "pkg" / "tree" / "bin" / "alias").symlink_to("program")
    (root / "pkg" / "__init__.py").write_text("not wanted")
    (root / "pkg.libs" / "lib.so").write_text("library")
    return root


def trees(site: Path) -> list[Path]:
    return [site / "pkg" / "tree", site / "pkg.libs"]


def test_directories_keep_their_places_and_files_are_links(site: Path, tmp_path: Path) -> None:
    farm = link_farm(trees(site), tmp_path / "bin")
    program = farm / "pkg" / "tree" / "bin" / "program"
    assert program.samefile(site / "pkg" / "tree" / "bin" / "program")
    assert (farm / "pkg" / "tree" / "bin" / "alias").read_text() == "program"
    assert (farm / "pkg" / "tree" / "bin" / "../../../pkg.libs/lib.so").resolve().read_text() == "library"
    assert not (farm / "pkg" / "__init__.py").exists()


def test_a_second_call_returns_the_same_farm_and_a_change_another(site: Path, tmp_path: Path) -> None:
    first = link_farm(trees(site), tmp_path / "bin")
    assert link_farm(trees(site), tmp_path / "bin") == first
    (site / "pkg.libs" / "lib.so").write_text("a newer library")
    assert link_farm(trees(site), tmp_path / "bin") != first
    assert not [path.name for path in (tmp_path / "bin").iterdir() if path.name.startswith(".")]


def test_a_file_others_may_not_read_is_copied_and_the_original_is_left_alone(site: Path, tmp_path: Path) -> None:
    closed = site / "pkg.libs" / "lib.so"
    closed.chmod(0o600)
    tool = site / "pkg" / "tree" / "bin" / "program"
    tool.chmod(0o700)
    farm = link_farm(trees(site), tmp_path / "bin")
    assert (farm / "pkg.libs" / "lib.so").stat().st_mode & 0o777 == 0o644
    assert (farm / "pkg" / "tree" / "bin" / "program").stat().st_mode & 0o777 == 0o755
    assert closed.stat().st_mode & 0o777 == 0o600
    assert tool.stat().st_mode & 0o777 == 0o700


def test_directories_are_open_whatever_the_umask(site: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        farm = link_farm(trees(site), tmp_path / "bin")
    finally:
        os.umask(before)
    for directory in (tmp_path / "bin", farm, farm / "pkg", farm / "pkg" / "tree" / "bin", farm / "pkg.libs"):
        assert directory.stat().st_mode & 0o777 == 0o755


def test_a_source_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    dest = tmp_path / "bin"
    with pytest.raises(FileNotFoundError):
        link_farm([tmp_path / "absent"], dest)
    assert not dest.exists()


def test_single_files_go_where_they_are_wanted_and_what_is_added_is_part_of_it(site: Path, tmp_path: Path) -> None:
    files = {"bin/tool": site / "pkg" / "tree" / "bin" / "alias", "lib/deep/lib.so": site / "pkg.libs" / "lib.so"}

    def finish(building: Path) -> None:
        (building / "lib" / "added").write_text("more")

    made = link_files(files, tmp_path / "bin", "kit", finish)
    assert made.name.startswith("kit-")
    assert (made / "bin" / "tool").samefile(site / "pkg" / "tree" / "bin" / "program"), "a link to a file is the file"
    assert (made / "lib" / "deep" / "lib.so").samefile(site / "pkg.libs" / "lib.so")
    assert (made / "lib" / "added").read_text() == "more"
    assert {path.stat().st_mode & 0o777 for path in (made, made / "bin", made / "lib" / "deep")} == {0o755}
    assert link_files(files, tmp_path / "bin", "kit", finish) == made
    (site / "pkg.libs" / "lib.so").write_text("a newer library")
    assert link_files(files, tmp_path / "bin", "kit", finish) != made


def test_what_cannot_be_finished_leaves_nothing_behind(site: Path, tmp_path: Path) -> None:
    def fail(building: Path) -> None:
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        link_files({"lib": site / "pkg.libs" / "lib.so"}, tmp_path / "bin", "kit", fail)
    assert list((tmp_path / "bin").iterdir()) == []
