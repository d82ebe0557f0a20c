"""Where a reader is: page limits, opaque cursors of lists, and the position in a session's log. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from setpoint.contracts.codec import unstorable
from setpoint.contracts.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from setpoint.contracts.problem import Problem

_SEQ_CHARS_MAX: Final = 18  # below 2**63, so that every accepted cursor fits the column
_CURSOR_CHARS_MAX: Final = 512


def page_limit(query: Mapping[str, str]) -> int:
    """Read ``limit``: 1 to PAGE_ITEMS_MAX, else Problem invalid-request."""
    text = query.get("limit")
    if text is None:
        return PAGE_ITEMS_DEFAULT
    number = whole_number("limit", text)
    if not 1 <= number <= PAGE_ITEMS_MAX:
        raise Problem("invalid-request", f"limit is between 1 and {PAGE_ITEMS_MAX}, not {number}")
    return number


def whole_number(name: str, text: str) -> int:
    """Read a number that counts something. Raises Problem invalid-request for anything but ASCII digits."""
    if not (text.isascii() and text.isdigit()) or len(text) > _SEQ_CHARS_MAX:
        raise Problem("invalid-request", f"{name} is a whole number from 0 on, not {text[:64]!r}")
    return int(text)


def choice(name: str, text: str, allowed: tuple[str, ...]) -> str:
    """Read one of a few words. Raises Problem invalid-request."""
    if text not in allowed:
        raise Problem(
            "invalid-request",
            f"{name} is one of {', '.join(allowed)}, not {text[:64]!r}",
        )
    return text


def after_seq(query: Mapping[str, str], headers: Mapping[str, str]) -> int:
    """Return the seq after which a reader of the log goes on: the larger of ``?after=`` and ``Last-Event-ID``.

    An event source repeats its old query when it reconnects, so neither may win by its place. Raises Problem
    invalid-request for anything that is no seq: a cursor is never silently ignored.
    """
    after = whole_number("after", query.get("after", "0"))
    last = headers.get("Last-Event-ID", "").strip()
    return max(after, whole_number("Last-Event-ID", last)) if last else after


def after_seqs(query: Mapping[str, str], headers: Mapping[str, str], known: Mapping[str, str]) -> dict[str, int]:
    """Return for each session the seq after which a reader of several logs goes on, 0 for those not named.

    ``known``: name or id -> id, of every session of the stream. ``?after=`` and ``Last-Event-ID`` are pairs
    ``session:seq``, with commas between them; the larger seq of a session counts. Raises Problem invalid-request for
    anything else, and for a session that is not of this stream.
    """
    found = dict.fromkeys(known.values(), 0)
    for name, text in (("after", query.get("after", "")), ("Last-Event-ID", headers.get("Last-Event-ID", ""))):
        for pair in text.strip().split(",") if text.strip() else ():
            session, _, seq = pair.partition(":")
            if session not in known:
                raise Problem("invalid-request", f"{name} has no session of this stream in {pair[:64]!r}")
            found[known[session]] = max(found[known[session]], whole_number(name, seq))
    return found


def encode_cursor(key: str) -> str:
    """Make the opaque cursor that stands for the last key of a page."""
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def decode_cursor(query: Mapping[str, str]) -> str:
    """Return the key behind ``?after=``, empty when there is none. Raises Problem invalid-request."""
    text = query.get("after", "")
    if not text:
        return ""
    try:
        if len(text) > _CURSOR_CHARS_MAX:
            raise ValueError("too long")
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise Problem("invalid-request", "after is no cursor that a page of this list has given") from error
    if unstorable(key):
        raise Problem("invalid-request", "after is no cursor that a page of this list has given")
    return key
