"""Asking a SQLite file: opened for reading, one statement, nothing allowed but reading.

``__main__`` calls ``first_value``. It never writes, not even the files that SQLite keeps beside a database.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from sandboxd.probe.answer import NoAnswer
from sandboxd.probe.place import head, located

_MAGIC: Final = b"SQLite format 3\0"
_BUSY_S: Final = 2.0
_SETTINGS: Final = (
    "query_only = ON",
    "trusted_schema = OFF",  # views and triggers of the file call no function that has side effects
    "cell_size_check = ON",
    "mmap_size = 0",  # a file cut short under a mapping would be a crash
    "temp_store = MEMORY",
    f"hard_heap_limit = {512 * 1024 * 1024}",
)
_ALLOWED: Final = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_REFUSED_FUNCTIONS: Final = ("load_extension", "fts3_tokenizer")
_READING_PRAGMAS: Final = (
    *("data_version", "database_list", "table_list", "table_info", "table_xinfo", "index_list", "index_info"),
    *("index_xinfo", "foreign_key_list", "foreign_key_check", "integrity_check", "quick_check"),
)
_READING_PRAGMAS_WITHOUT_VALUE: Final = ("user_version", "application_id", "schema_version", "page_count", "page_size")


def first_value(path: str, query: str) -> object:
    """Return the first value of the first row. Raises NoAnswer."""
    found = located(path, _MAGIC, 0, "SQLite")
    try:
        before = _shape(found)
        immutable = _is_clean_wal(found)
        row = _asked(found, query, immutable=immutable)
        if immutable and _shape(found) != before:
            raise NoAnswer(f"{path} was written to while it was read")
    except OSError as error:
        raise NoAnswer(f"{path} cannot be read: {error.strerror}") from None
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise NoAnswer(f"{path}: {_explained(found, error)}") from None
    if row is None:
        raise NoAnswer("the query gave no row")
    return row[0]


def _asked(found: str, query: str, *, immutable: bool) -> tuple[object, ...] | None:
    escaped = found.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    uri = f"file:{escaped}?mode=ro{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        connection.set_authorizer(_authorize)
        row: tuple[object, ...] | None = connection.execute(query).fetchone()
        return row
    finally:
        connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second in _REFUSED_FUNCTIONS else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA:
        reads = first in _READING_PRAGMAS or (first in _READING_PRAGMAS_WITHOUT_VALUE and second is None)
        return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY
    # How SQLite describes a table of its own making (json_each, pragma_table_info) to itself; the file stays as it is.
    describes = action == sqlite3.SQLITE_UPDATE and first == "sqlite_master"
    return sqlite3.SQLITE_OK if action in _ALLOWED or describes else sqlite3.SQLITE_DENY


def _is_clean_wal(found: str) -> bool:
    """Tell whether the file is in WAL mode and nobody has it open.

    Then everything is in the file itself, and SQLite must be told so: it would make files beside it to read it.
    """
    return head(found)[18:20] == b"\x02\x02" and _bytes(f"{found}-wal") == 0


def _shape(found: str) -> tuple[int, int, int]:
    """Return what changes when a file in WAL mode is written to."""
    facts = os.stat(found)
    return facts.st_size, facts.st_mtime_ns, _bytes(f"{found}-wal")


def _bytes(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _explained(found: str, error: sqlite3.Error | sqlite3.Warning) -> str:
    """Return the error, with its cause where SQLite's own words do not tell it."""
    text = str(error)
    stuck = "unable to open database file" in text or "readonly database" in text
    if stuck and _bytes(f"{found}-wal"):
        return f"{text} (it has a -wal file and no -shm file: what writes it has to open it once)"
    if stuck and _bytes(f"{found}-journal"):
        return f"{text} (a transaction was cut off: what writes it has to open it once)"
    return text
