"""API keys: their shape, and that the secret shows nowhere by itself."""

from __future__ import annotations

import hashlib

import pytest

from setpoint.contracts import apikey

RANDOM = bytes(range(apikey.RANDOM_BYTES))


def test_a_new_key_reads_back() -> None:
    key = apikey.new_api_key(RANDOM)
    assert apikey.parse_api_key(key.text) == key
    assert key.text.startswith("sp_") and len(key.text) == 3 + 16 + 1 + 48


def test_the_secret_is_not_in_the_repr() -> None:
    key = apikey.new_api_key(RANDOM)
    assert key.secret not in repr(key) and key.key_id in repr(key)


def test_the_stored_hash_is_sha256_of_the_secret() -> None:
    assert apikey.hash_secret("abc") == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize("size", [0, apikey.RANDOM_BYTES - 1, apikey.RANDOM_BYTES + 1])
def test_it_takes_exactly_its_random_bytes(size: int) -> None:
    with pytest.raises(ValueError):
        apikey.new_api_key(bytes(size))


@pytest.mark.parametrize("cut", ["", "sp", "sp_", "sp__", "x", "sp_a_b", "Bearer x"])
def test_other_text_is_no_key(cut: str) -> None:
    assert apikey.parse_api_key(cut) is None


def test_a_key_with_anything_around_it_is_no_key() -> None:
    text = apikey.new_api_key(RANDOM).text
    for other in (text + "\n", " " + text, text[:-1], text + "a", text.upper(), text.replace("sp_", "sp-")):
        assert apikey.parse_api_key(other) is None
