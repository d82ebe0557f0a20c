"""The two answers that more than one link gives: ``Refused`` and ``OutputIs`` (proto/links.md).

``run`` and ``hint`` build their unions from these. They are apart so that the broker, which must know nothing of runs,
commands and events, can refuse a question. Importers of ``run`` find both names there too.
"""

from __future__ import annotations

import msgspec


class Struct(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer of a link; unknown fields are ignored, so that N and N-1 can talk."""


class Refused(Struct, tag="refused", frozen=True):
    """The request was not carried out and nothing was changed. ``code`` says why; ``retry`` whether it may pass later.

    Codes of a sandbox host: ``stale-epoch`` ``stale-token`` ``bad-grant`` ``unknown-run`` ``unknown-workspace``
    ``no-capacity`` ``missing-object`` ``invalid`` ``draining``. A broker's are in proto/links.md.
    """

    id: int
    code: str
    detail: str
    retry: bool = False


class OutputIs(Struct, tag="output_is", frozen=True):
    """Bytes from the asked offset; ``eof`` when the step has ended and nothing follows."""

    id: int
    content: bytes
    next_offset: int
    eof: bool
    truncated: bool = False
