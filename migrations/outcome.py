"""What became of a call to the database, in five words that callers can act on.

Pure: the door maps what the driver raises to these, so that no store needs the driver. An error that is none of the
five (a missing function, bad SQL) is a defect and passes through as it came: the process dies of it.
"""

from __future__ import annotations


class Fault(Exception):
    """A call to the database did not end well. ``sqlstate`` is the server's code, empty when it gave no answer."""

    def __init__(self, detail: str, sqlstate: str = "") -> None:
        super().__init__(f"{sqlstate} {detail}".strip())
        self.detail = detail
        self.sqlstate = sqlstate


class Unknown(Fault):
    """The connection was lost while the call ran: it may have committed. Repeat the same call; replays are answered."""


class Retry(Fault):
    """The transaction was undone for a reason that passes (deadlock, serialization, lock or statement time-out)."""


class BadInput(Fault):
    """The values were refused (SQLSTATE classes 21, 22, 23): nothing was written, and repeating will not help."""


class Unavailable(Fault):
    """No connection, or a server that cannot serve writes now. Nothing was written."""


class Forbidden(Fault):
    """The role lacks the right to do this (SQLSTATE 42501): a wrong role or grant, never a passing state."""


_RETRY = frozenset({"40000", "40001", "40P01", "55P03", "57014"})
_BAD_CLASSES = frozenset({"21", "22", "23"})
_UNAVAILABLE = frozenset({"25006", "57P03"})
_UNAVAILABLE_CLASSES = frozenset({"53"})
_LOST = frozenset({"40003", "57P01", "57P02", "57P05"})


def of_sqlstate(sqlstate: str, *, connecting: bool = False) -> type[Fault] | None:
    """Return the word for an answer of the server, or None when it is a defect of ours.

    ``connecting`` is true while no statement was sent yet: then even a lost connection leaves nothing in doubt.
    25P03 and 57P05 end idle sessions; a shutdown (57P01) that meets a running statement may have met its commit.
    """
    kind = sqlstate[:2]
    if kind == "08" or sqlstate in _LOST or sqlstate == "25P03":
        return Unavailable if connecting else Unknown
    if sqlstate in _RETRY:
        return Retry
    if kind in _BAD_CLASSES:
        return BadInput
    if sqlstate == "42501":
        return Forbidden
    if sqlstate in _UNAVAILABLE or kind in _UNAVAILABLE_CLASSES:
        return Unavailable
    return None
