"""The directories that sandboxes work in, and bringing one to the files of a generation.

The host calls this in a thread while no run of the session is running. Tenants own what is in a workspace, so nothing
here trusts it: every directory is entered by descriptor without following links, every file is written beside the
workspace and renamed into it. Nothing is ever read or written outside the session's own directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from sandboxd.core.admit import path_fault
from setpoint.contracts import codec, limits
from setpoint.objects import ObjectStore, blob_key

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILES: Final = "files"
_ASIDE: Final = "aside"
_PIECE: Final = 1 << 20


class ManifestRefused(Exception):
    """A manifest or blob is not what it should be; the text says what, and nothing was changed by it."""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a project: its path below the workspace, its mode, the sha256 of its content."""

    path: str
    mode: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files of a generation."""

    files: tuple[File, ...] = ()


def parse_manifest(content: bytes) -> dict[str, File]:
    """Read and check a manifest. Raises ManifestRefused naming the first path that cannot be in a workspace."""
    try:
        files = msgspec.json.decode(content, type=Manifest).files
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ManifestRefused(f"not a manifest: {error}") from error
    if len(files) > limits.PROJECT_FILES_MAX:
        raise ManifestRefused(f"{len(files)} files; {limits.PROJECT_FILES_MAX} are allowed")
    found: dict[str, File] = {}
    for file in files:
        if fault := path_fault(file.path):
            raise ManifestRefused(f"the path {file.path[:120]!r} {fault}")
        if len(file.sha256) != 64 or set(file.sha256) - set("0123456789abcdef"):
            raise ManifestRefused(f"{file.path}: not a sha256")
        found[file.path] = file
    if len(found) != len(files):
        raise ManifestRefused("a path is there twice")
    # With the separator sorted first, what is in a directory stands right after its name.
    ordered = sorted(found, key=lambda path: path.replace("/", "\0"))
    if clash := next((path for path, after in pairwise(ordered) if after.startswith(f"{path}/")), None):
        raise ManifestRefused(f"{clash!r} is a file and a directory")
    return found


def fetch(store: ObjectStore, tenant: str, sha256: str) -> bytes:
    """Return a tenant's blob and check that it is what its name says. Raises ObjectMissing, ManifestRefused."""
    content = store.get(blob_key(tenant, sha256))
    if codec.sha256_hex(content) != sha256:
        raise ManifestRefused(f"the blob {sha256} does not have that content")
    return content


class WorkspaceDir:
    """One workspace on disk: ``files`` is what sandboxes see, ``aside`` where new files are written first."""

    def __init__(self, root: Path, place: str, uid: int | None) -> None:
        self.path = root / place / _FILES
        self._home, self._uid = root / place, uid
        self._readable_bytes = 0

    def make(self) -> None:
        """Make the directories. Harmless when they are there."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        if self._uid is not None:
            # The session's account passes through, nobody else: whatever modes a tenant gives its files.
            os.chown(self._home, -1, self._uid)
            self._home.chmod(0o710)
        (self._home / _ASIDE).mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
            if self._uid is not None:
                os.chown(self.path, self._uid, self._uid)

    def materialize(self, wanted: Mapping[str, File], before: Mapping[str, File], blobs: Mapping[str, bytes]) -> None:
        """Write the wanted files, delete those of ``before`` that are not wanted and unchanged, keep all others.

        ``blobs`` are the contents by sha256. Each file appears whole or not at all; repeating it changes nothing.
        Raises ManifestRefused when a directory made by somebody else stands where a file belongs; OSError when the
        disk refuses. Synced when it returns.
        """
        # What is unchanged fits a project: whoever put large (or sparse) files in their place gets no more read.
        self._readable_bytes = limits.PROJECT_BYTES_MAX
        self._empty_aside()
        with _opened(self.path) as top:
            for _, file in sorted(wanted.items()):
                self._write(top, file, blobs[file.sha256])
            for path in sorted(before.keys() - wanted.keys()):
                self._delete_unchanged(top, path, before[path].sha256)
            _sync_file_system(top)

    def _write(self, top: int, file: File, content: bytes) -> None:
        *parents, name = file.path.split("/")
        mode = 0o755 if file.mode & 0o111 else 0o644
        with self._walk(top, parents, make=True) as directory:
            assert directory is not None
            there = _look(directory, name)
            if there is not None and stat.S_ISDIR(there.st_mode):
                raise ManifestRefused(f"{file.path}: there is a directory of that name in the workspace")
            if there is not None and there.st_size == len(content) and _same(directory, name, there, file.sha256, mode):
                return
            aside = self._home / _ASIDE / "new"
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as new:
                new.write(content)
                if self._uid is not None:
                    os.fchown(descriptor, self._uid, self._uid)
                os.fchmod(descriptor, mode)
            os.rename(aside, name, dst_dir_fd=directory)

    def _delete_unchanged(self, top: int, path: str, sha256: str) -> None:
        *parents, name = path.split("/")
        with self._walk(top, parents, make=False) as directory:
            there = None if directory is None else _look(directory, name)
            if directory is None or there is None or there.st_size > self._readable_bytes:
                return
            self._readable_bytes -= there.st_size
            if not _same(directory, name, there, sha256, None):
                return
            os.unlink(name, dir_fd=directory)
        # Directories that only the project had filled go with their last file.
        while parents:
            *parents, empty = parents
            with self._walk(top, parents, make=False) as directory:
                if directory is None:
                    return
                try:
                    os.rmdir(empty, dir_fd=directory)
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                        return
                    raise

    @contextmanager
    def _walk(self, top: int, parents: list[str], *, make: bool) -> Iterator[int | None]:
        """Open a directory below ``top`` name by name. What is no directory is replaced with one, or gives None."""
        current = os.dup(top)
        try:
            for name in parents:
                try:
                    deeper = os.open(name, _DIRECTORY, dir_fd=current)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        raise
                    if not make:
                        yield None
                        return
                    deeper = self._make_directory(current, name)
                os.close(current)
                current = deeper
            yield current
        finally:
            os.close(current)

    def _make_directory(self, parent: int, name: str) -> int:
        if _look(parent, name) is not None:
            os.unlink(name, dir_fd=parent)  # a link or file of somebody's where the project has a directory
        os.mkdir(name, 0o755, dir_fd=parent)
        made = os.open(name, _DIRECTORY, dir_fd=parent)
        if self._uid is not None:
            os.fchown(made, self._uid, self._uid)
        os.fchmod(made, 0o755)
        return made

    def _empty_aside(self) -> None:
        for left in (self._home / _ASIDE).iterdir():
            left.unlink()


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _look(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(directory: int, name: str, there: os.stat_result, sha256: str, mode: int | None) -> bool:
    """Tell whether a name is a regular file with this content, and this mode when one is given."""
    if not stat.S_ISREG(there.st_mode) or there.st_size > limits.BLOB_BYTES_MAX:
        return False
    if mode is not None and (stat.S_IMODE(there.st_mode) != mode or there.st_nlink != 1):
        return False
    try:
        descriptor = os.open(name, _REGULAR, dir_fd=directory)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest() == sha256


def _sync_file_system(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), "syncfs failed")
