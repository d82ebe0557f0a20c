"""The documents of a manifest, also when one of them is no YAML: the others are read all the same. Called by compile.

A ``---`` at the beginning of a line parts documents wherever it stands, in quotes and in blocks as well, so a file can
be read on behind the document that is broken.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.source import Source
from setpoint.contracts.resource.tree import Document, read_documents

_BORDER: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_DIRECTIVE: Final = re.compile(r"^%", re.MULTILINE)


_PIECES_MAX: Final = 1_000
"""A file of more documents is read whole or not at all."""


class Read(NamedTuple):
    """What came of a file; ``unread`` is the text of it of which nothing came but faults."""

    documents: tuple[Document, ...]
    faults: tuple[Fault, ...]
    unread: str = ""


def read_file(source: Source) -> Read:
    """Read every document of a manifest that can be read. Faults are positioned in the file."""
    documents, faults = read_documents(source)
    if documents or not faults:
        return Read(documents, faults)
    borders = [border.start() for border in _BORDER.finditer(source.text) if border.start()]
    apart = 0 < len(borders) < _PIECES_MAX and not _DIRECTIVE.search(source.text)
    if not apart or faults[0].code != "yaml.syntax":
        return Read((), faults, source.text)
    pieces = [_piece(source, *ends) for ends in zip([0, *borders], [*borders, len(source.text)], strict=True)]
    read = [(piece, *read_documents(piece)) for piece in pieces]
    return Read(
        tuple(document for _, found, _ in read for document in found),
        tuple(fault for _, _, found in read for fault in found),
        "\n".join(piece.text for piece, documents, faults in read if faults and not documents),
    )


def _piece(source: Source, start: int, end: int) -> Source:
    return Source(source.file, source.text[start:end], source.position(start)[0])
