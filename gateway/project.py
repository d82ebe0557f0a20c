"""A project as its manifest names it: checked paths, sizes within limits, the manifest's own bytes. Pure.

The route of ``apply`` calls this between reading the body and touching the object store. sandboxd checks paths again
before it writes; here a bad one is a 422 that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from gateway.shapes import ProjectFile
from setpoint.contracts import limits
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.problem import Fault, Problem
from setpoint.contracts.resource.compile import is_read
from setpoint.contracts.resource.origin_files import is_manifest

_MODE_MAX: Final = 0o777


def check_files(files: Sequence[ProjectFile]) -> None:
    """Judge the list of files by itself. Raises Problem validation-failed with every fault and its pointer."""
    if len(files) > limits.PROJECT_FILES_MAX:
        detail = f"a project has at most {limits.PROJECT_FILES_MAX} files, not {len(files)}"
        raise Problem(
            "validation-failed",
            detail,
            errors=[Fault("project.files", detail, pointer="/payload/files")],
        )
    faults = [fault for n, file in enumerate(files) for fault in _faults_of(n, file)]
    faults.extend(_clashes(files))
    _raise(faults, "a file of the project cannot be accepted")


def check_sizes(files: Sequence[ProjectFile], sizes: Mapping[str, int | None]) -> None:
    """Judge the sizes of the stored blobs by sha256, None for one that is not stored. Raises Problem."""
    faults = [
        Fault(
            "blob.missing",
            f"{file.path}: this blob is not stored; PUT it first",
            pointer=_at(n, "sha256"),
        )
        for n, file in enumerate(files)
        if sizes[file.sha256] is None
    ]
    _raise(faults, "a blob of the project is not stored")
    total = sum(sizes[file.sha256] or 0 for file in files)
    if total > limits.PROJECT_BYTES_MAX:
        detail = f"the project has {total} bytes; at most {limits.PROJECT_BYTES_MAX} can be applied"
        raise Problem(
            "validation-failed",
            detail,
            errors=[Fault("project.bytes", detail, pointer="/payload/files")],
        )
    read = [file for file in files if is_read(file.path)]
    large = [file for file in read if (sizes[file.sha256] or 0) > limits.MANIFEST_FILE_BYTES_MAX]
    most = limits.MANIFEST_FILE_BYTES_MAX
    _raise(
        [Fault("too-large", f"a manifest has at most {most} bytes", file.path, 1, 1) for file in large],
        "a manifest is too large to be read",
    )
    if sum(sizes[file.sha256] or 0 for file in read) > limits.COMPILE_INPUT_BYTES_MAX:
        detail = f"the manifests together have more than {limits.COMPILE_INPUT_BYTES_MAX} bytes"
        raise Problem("validation-failed", detail, errors=[Fault("project.manifests", detail)])


def manifests(files: Sequence[ProjectFile], sizes: Mapping[str, int | None]) -> tuple[ProjectFile, ...]:
    """Return the files that an Origin may name. Raises Problem when they are too large together."""
    named = tuple(file for file in files if is_manifest(file.path))
    if sum(sizes[file.sha256] or 0 for file in named) > limits.DBT_MANIFESTS_BYTES_MAX:
        detail = f"the manifests of dbt together have more than {limits.DBT_MANIFESTS_BYTES_MAX} bytes"
        fault = Fault("too-large", detail, named[-1].path, hint="leave out those that no Origin names")
        raise Problem("validation-failed", detail, errors=[fault])
    return named


def manifest(files: Iterable[ProjectFile]) -> bytes:
    """Return the manifest blob: every file by path, the same bytes for the same project."""
    ordered = sorted(files, key=lambda file: file.path)
    listed = [{"path": file.path, "mode": file.mode, "sha256": file.sha256} for file in ordered]
    return canonical_json({"files": listed})


def _faults_of(n: int, file: ProjectFile) -> Iterable[Fault]:
    path = file.path
    parts = path.split("/")
    if not path or len(path.encode()) > limits.PROJECT_PATH_BYTES_MAX:
        yield Fault(
            "project.path",
            f"a path has 1 to {limits.PROJECT_PATH_BYTES_MAX} bytes",
            pointer=_at(n, "path"),
        )
    elif any(part in ("", ".", "..") for part in parts) or any(len(part.encode()) > 255 for part in parts):
        yield Fault(
            "project.path",
            f"{path[:80]!r} is no path below the project",
            pointer=_at(n, "path"),
            hint="relative, with / between names, without . and ..",
        )
    elif any(ord(char) < 32 or ord(char) == 127 for char in path) or "\\" in path:
        yield Fault(
            "project.path",
            "a path has no control characters and no \\",
            pointer=_at(n, "path"),
        )
    if not 0 <= file.mode <= _MODE_MAX:
        yield Fault(
            "project.mode",
            f"{file.mode} is no mode from 0 to 511 (0o777)",
            pointer=_at(n, "mode"),
        )


def _clashes(files: Sequence[ProjectFile]) -> Iterable[Fault]:
    """Name each path that is there twice or that is a directory of another."""
    seen: set[str] = set()
    # With the separator sorted first, what is in a directory stands right after its name.
    ordered = sorted({file.path for file in files}, key=lambda path: path.replace("/", "\0"))
    directories = {path for path, following in pairwise(ordered) if following.startswith(f"{path}/")}
    for n, file in enumerate(files):
        if file.path in seen:
            yield Fault(
                "project.path",
                f"{file.path[:80]!r} is there twice",
                pointer=_at(n, "path"),
            )
        elif file.path in directories:
            yield Fault(
                "project.path",
                f"{file.path[:80]!r} is a directory of another file",
                pointer=_at(n, "path"),
            )
        seen.add(file.path)


def _at(n: int, field: str) -> str:
    return f"/payload/files/{n}/{field}"


def _raise(faults: list[Fault], detail: str) -> None:
    if faults:
        shown = faults[: limits.FAULTS_MAX]
        raise Problem("validation-failed", f"{detail}: {shown[0].message}", errors=shown)
