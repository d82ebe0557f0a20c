"""Manifests: paths that stay below the project, sizes within limits, the same bytes for the same files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import project
from gateway.shapes import ProjectFile
from setpoint.contracts import limits
from setpoint.contracts.problem import Problem

SHA = "0" * 64
NAMES = st.text("abc._-", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


def file(path: str, mode: int = 0o644, sha256: str = SHA) -> ProjectFile:
    return ProjectFile(path, sha256, mode)


def faults(*files: ProjectFile) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        project.check_files(files)
    assert caught.value.code == "validation-failed"
    return [(fault.code, fault.pointer) for fault in caught.value.errors]


@given(st.lists(NAMES, min_size=1, max_size=4).map("/".join))
def test_a_relative_path_is_taken(path: str) -> None:
    project.check_files([file(path)])


@given(st.text(max_size=30))
def test_a_path_that_is_taken_stays_below_the_project(path: str) -> None:
    try:
        project.check_files([file(path)])
    except Problem:
        return
    assert not path.startswith("/") and ".." not in path.split("/") and "\0" not in path and "\n" not in path


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "a/..", "../a", "a\0", "a\tb", "a\\b", "x" * 256])
def test_any_other_path_is_refused(path: str) -> None:
    assert faults(file("fine"), file(path)) == [("project.path", "/payload/files/1/path")]


def test_paths_do_not_clash() -> None:
    assert faults(file("a"), file("a")) == [("project.path", "/payload/files/1/path")]
    assert faults(file("a/b"), file("a")) == [("project.path", "/payload/files/1/path")]
    project.check_files([file("a/b"), file("a/c"), file("ab")])


@pytest.mark.parametrize("mode", [-1, 0o1000, 0o4755, 10**9])
def test_a_mode_is_permission_bits(mode: int) -> None:
    assert faults(file("a", mode)) == [("project.mode", "/payload/files/0/mode")]


def test_a_project_has_a_bounded_number_of_files() -> None:
    assert faults(*(file(f"f{n}") for n in range(limits.PROJECT_FILES_MAX + 1))) == [
        ("project.files", "/payload/files")
    ]


@pytest.mark.parametrize(
    ("path", "size", "code"),
    [
        ("a", None, "blob.missing"),
        ("a", limits.PROJECT_BYTES_MAX + 1, "project.bytes"),
        ("resources/a.yaml", limits.MANIFEST_FILE_BYTES_MAX + 1, "too-large"),
    ],
)
def test_sizes_are_judged(path: str, size: int | None, code: str) -> None:
    with pytest.raises(Problem) as caught:
        project.check_sizes([file(path)], {SHA: size})
    assert [fault.code for fault in caught.value.errors] == [code]


def test_manifests_together_are_bounded() -> None:
    count = limits.COMPILE_INPUT_BYTES_MAX // limits.MANIFEST_FILE_BYTES_MAX + 1
    files = [file(f"resources/{n}.yaml") for n in range(count)]
    with pytest.raises(Problem, match="manifests together"):
        project.check_sizes(files, {SHA: limits.MANIFEST_FILE_BYTES_MAX})


def test_a_manifest_does_not_depend_on_the_order_it_came_in() -> None:
    one, two = file("b", 0o755), file("a")
    assert project.manifest([one, two]) == project.manifest([two, one])
    assert json.loads(project.manifest([one])) == {"files": [{"path": "b", "mode": 0o755, "sha256": SHA}]}


def test_manifests_of_dbt_are_bounded_together_and_beside_what_people_write() -> None:
    files = [file("target/manifest.json", sha256="1" * 64), file("a/target/manifest.json", sha256="2" * 64)]
    other = file("manifest.json")
    half = limits.DBT_MANIFESTS_BYTES_MAX // 2
    assert project.manifests([*files, other], {"1" * 64: half, "2" * 64: half}) == tuple(files)
    with pytest.raises(Problem, match="manifests of dbt") as caught:
        project.manifests(files, {"1" * 64: half, "2" * 64: half + 1})
    assert [fault.code for fault in caught.value.errors] == ["too-large"]
