"""Passwords become what Postgres keeps of them; that the servers take it is seen by every test that logs in."""

from __future__ import annotations

import base64

import pytest

from migrations.scram import verifier


def test_the_published_example() -> None:
    # RFC 7677, section 3: user "user", password "pencil".
    assert verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@pytest.mark.parametrize("password", ["", "pässword", "a\nb", "a\x00b"])
def test_what_clients_would_prepare_first_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        verifier(password, b"0" * 16)
