"""A host's identity: kept privately on disk, fresh incarnation each start, and the check of a peer's headers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from setpoint import runtime
from setpoint.contracts import grant
from setpoint.contracts.grant import TokenRefused
from setpoint.contracts.hint import Role
from setpoint.identity import PROOF_HEADER, Identity, check_peer, open_private, write_private

BROKER = Ed25519PrivateKey.generate()
KEYS = {"b1": grant.public_text(BROKER)}


def admitted(directory: Path, host: str = "c1", role: Role = "cell") -> Identity:
    identity = Identity(directory, host, role)
    token = grant.sign_host_token(
        BROKER, "b1", host=host, role=role, host_key=identity.public_key, now_s=runtime.now_s()
    )
    identity.learn(host_token=token, keys=KEYS)
    return identity


def test_the_key_stays_and_the_incarnation_changes_with_each_start(tmp_path: Path) -> None:
    first, second = Identity(tmp_path / "c", "c1", "cell"), Identity(tmp_path / "c", "c1", "cell")
    assert first.public_key == second.public_key
    assert first.incarnation != second.incarnation
    assert first.host_token == ""
    assert first.keys == {}


def test_what_was_learnt_is_there_after_a_restart_and_private(tmp_path: Path) -> None:
    first = admitted(tmp_path / "c")
    second = Identity(tmp_path / "c", "c1", "cell")
    assert (second.host_token, second.keys) == (first.host_token, KEYS)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "c").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
        assert not path.name.startswith("."), path


def test_learning_nothing_changes_nothing(tmp_path: Path) -> None:
    host = admitted(tmp_path / "c")
    token = host.host_token
    host.learn()
    host.learn(host_token="", keys={})
    assert (host.host_token, host.keys) == (token, KEYS)


def test_a_peer_is_who_its_headers_prove(tmp_path: Path) -> None:
    client, server = admitted(tmp_path / "c"), admitted(tmp_path / "s", "s1", "sandbox")
    claims, proof = server.check_peer(client.headers("s1"))
    assert (claims.host, claims.role, claims.public_key) == ("c1", "cell", client.public_key)
    assert proof == grant.Proof("c1", client.incarnation)


def holds(server: Identity, headers: dict[str, str]) -> bool:
    try:
        server.check_peer(headers)
    except TokenRefused:
        return False
    return True


def test_headers_that_prove_nothing(tmp_path: Path) -> None:
    client, server = admitted(tmp_path / "c"), admitted(tmp_path / "s", "s1", "sandbox")
    thief = Identity(tmp_path / "t", "c1", "cell")
    good = client.headers("s1")
    cases: dict[str, dict[str, str]] = {
        "nothing": {},
        "no token": {PROOF_HEADER: good[PROOF_HEADER]},
        "no proof": {"Authorization": good["Authorization"]},
        "another scheme": good | {"Authorization": good["Authorization"].replace("Bearer", "Basic")},
        "for another host": client.headers("s2"),
        "a stolen token": thief.headers("s1") | {"Authorization": good["Authorization"]},
        "a host without a token": thief.headers("s1"),
        "proof in the place of the token": good | {"Authorization": f"Bearer {good[PROOF_HEADER]}"},
    }
    assert [name for name, headers in cases.items() if holds(server, headers)] == []
    assert holds(server, good)


def test_a_server_that_knows_no_broker_lets_nobody_in(tmp_path: Path) -> None:
    client = admitted(tmp_path / "c")
    with pytest.raises(TokenRefused, match="no broker published"):
        check_peer(client.headers("s1"), {}, "s1")


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_lock_file_can_be_held_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("")
    path.chmod(0o644)  # who can read a file can lock it
    with open(path, "w", opener=open_private):
        assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError):
        open_private(str(tmp_path / "link"), os.O_WRONLY)
