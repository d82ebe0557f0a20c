"""The object store: immutable bytes by key, in a directory (the default) behind three methods.

gateway puts blobs, celld reads compiled sets, sandboxd reads project files and puts outputs. A key starts with the
tenant id: whoever builds a key takes the tenant from a verified credential, never from a request.
Methods block on the disk: call them with ``asyncio.to_thread``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$")


class ObjectMissing(Exception):
    """There is no object under this key."""


class ObjectStore(Protocol):
    """What every store can do. Objects are written once; putting the same key again changes nothing."""

    def put(self, key: str, content: bytes) -> None:
        """Store ``content`` durably under ``key``; returns when it would survive a crash."""

    def get(self, key: str) -> bytes:
        """Return the object. Raises ObjectMissing."""

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes, None when there is none."""


def blob_key(tenant: str, sha256: str) -> str:
    """Return the key of a tenant's blob."""
    return f"{tenant}/blobs/{sha256}"


def output_key(tenant: str, run_id: str, step: int, stream: str) -> str:
    """Return the key of the output of one stream of one step."""
    return f"{tenant}/output/{run_id}/{step}.{stream}"


class DirectoryStore:
    """A directory as object store: a file an object, written to a temporary name, fsynced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, key: str, content: bytes) -> None:
        """Store ``content`` under ``key``."""
        path = self._path(key)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(6).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)

    def get(self, key: str) -> bytes:
        """Return the object under ``key``. Raises ObjectMissing."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    def size(self, key: str) -> int | None:
        """Return the size of the object under ``key``, None when there is none."""
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no object key")
        return self._root / key


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_store(location: str) -> ObjectStore:
    """Open the store named by SETPOINT_OBJECTS: a directory, or ``file://`` and a directory.

    Raises ValueError for any other scheme: no other store is built yet.
    """
    if "://" in location and not location.startswith("file://"):
        raise ValueError(f"SETPOINT_OBJECTS={location!r}: only a directory is supported yet")
    return DirectoryStore(Path(location.removeprefix("file://")))
