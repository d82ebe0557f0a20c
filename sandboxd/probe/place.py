"""Where a probe's file is, and whether it is one: looked at before a library opens it.

The sandbox confines what can be reached; this says it in words, and holds where nothing is isolated. It never writes.
"""

from __future__ import annotations

import os
import stat

from sandboxd.probe.answer import NoAnswer

_HEADER_BYTES = 100


def located(path: str, magic: bytes, at: int, named: str) -> str:
    """Return the real path of a file below the working directory that has ``magic`` at the offset ``at``.

    ``named`` is what such a file is called. Raises NoAnswer.
    """
    workspace, found = os.path.realpath("."), os.path.realpath(path)
    if os.path.commonpath([workspace, found]) != workspace:
        raise NoAnswer(f"{path} leads out of the workspace")
    try:
        kind = os.stat(found).st_mode
        if not stat.S_ISREG(kind):
            raise NoAnswer(f"{path} is no regular file")
        header = head(found)
    except FileNotFoundError:
        raise NoAnswer(f"{path}: there is no such file") from None
    except OSError as error:
        raise NoAnswer(f"{path} cannot be read: {error.strerror}") from None
    if not header:
        raise NoAnswer(f"{path} is empty")
    if header[at : at + len(magic)] != magic:
        raise NoAnswer(f"{path} is no {named} database")
    return found


def head(path: str) -> bytes:
    """Return the first bytes of a file. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(_HEADER_BYTES)
