"""Asking a DuckDB file: opened for reading, nothing outside it within reach, the settings locked.

``__main__`` calls ``first_value``. It never writes and never loads an extension.
"""

from __future__ import annotations

import time
from typing import Final

import duckdb

from sandboxd.probe.answer import Instant, NoAnswer
from sandboxd.probe.place import located

_MAGIC: Final = b"DUCK"
_MAGIC_AT: Final = 8
_BUSY_S: Final = 2.0
_PAUSE_S: Final = 0.05
_SETTINGS: Final = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",  # a table's name never finds a variable of this program
    "home_directory": "/tmp",
    "temp_directory": "",
    "memory_limit": "512MB",
    "threads": "2",
    "lock_configuration": "true",
}


def first_value(path: str, query: str) -> object:
    """Return the first value of the first row; dates and timestamps as an Instant. Raises NoAnswer."""
    found = located(path, _MAGIC, _MAGIC_AT, "DuckDB")
    try:
        connection = _opened(path, found)
        try:
            rows = _asked(connection, query)
        finally:
            connection.close()
    except duckdb.Error as error:
        raise NoAnswer(f"{path}: {_first_line(error)}") from None
    if not rows:
        raise NoAnswer("the query gave no row")
    return rows[0]


def _opened(path: str, found: str) -> duckdb.DuckDBPyConnection:
    """Open the file, waiting a moment for whoever writes it."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            return duckdb.connect(found, read_only=True, config=dict(_SETTINGS))
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            if time.monotonic() > until:
                raise NoAnswer(f"{path} is being written to by another process") from None
        time.sleep(_PAUSE_S)


def _asked(connection: duckdb.DuckDBPyConnection, query: str) -> list[object]:
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise NoAnswer("the query is not one SELECT")
    relation = connection.sql(_without_end(query))
    if relation is None:
        raise NoAnswer("the query gives nothing")
    # Instants are computed by DuckDB: its Python values of them need another library, and end in the year 9999.
    kind = str(relation.types[0])
    instant = kind == "DATE" or kind.startswith("TIMESTAMP")
    wanted = "#1"
    if instant:
        wanted = "epoch_us(#1)" if kind == "TIMESTAMP WITH TIME ZONE" else "epoch_us(#1::TIMESTAMP)"
    rows = relation.project(wanted).limit(1).fetchall()
    return [Instant(value / 1e6) if instant and value is not None else value for (value,) in rows]


def _without_end(query: str) -> str:
    """Return a query without the semicolons and comments at its end: what is built around it stands on its own."""
    text = query.encode()
    for at, kind in reversed(duckdb.tokenize(query)):
        if kind != duckdb.token_type.comment and text[at : at + 1] != b";":
            break
        text = text[:at]
    return text.decode()


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().partition("\n")[0]
