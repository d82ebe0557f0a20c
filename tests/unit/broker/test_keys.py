"""The broker's key: one per state directory, named by its public half, shown without its private one."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.keys import KeyUnusable, jwks, open_key
from setpoint.contracts import grant


def test_a_key_is_made_once_and_certifies(tmp_path: Path) -> None:
    key = open_key(tmp_path)
    assert (tmp_path / "broker.key").stat().st_mode & 0o777 == 0o600
    token = key.certify(host="c1", role="cell", host_key=key.public_text, now_s=1000)
    assert grant.verify_host_token(token, {key.kid: key.public_text}, 1000).host == "c1"
    assert len(key.kid) == 16


def test_a_directory_has_one_broker_at_a_time(tmp_path: Path) -> None:
    open_key(tmp_path)
    with pytest.raises(KeyUnusable, match="another broker"):
        open_key(tmp_path)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broker.key").write_bytes(bytes(32))
    (tmp_path / "broker.key").chmod(0o640)
    with pytest.raises(KeyUnusable, match="0600"):
        open_key(tmp_path)


def test_the_key_set_is_sorted_and_public() -> None:
    keys = jwks({"b": "BB", "a": "AA"})["keys"]
    assert [(key["kid"], key["x"]) for key in keys] == [("a", "AA"), ("b", "BB")]
    assert all(set(key) == {"kty", "crv", "use", "alg", "kid", "x"} for key in keys)
