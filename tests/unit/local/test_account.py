"""Which account Postgres gets, and which directories are closed to it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from setpoint.local.account import Account, AccountRefused, choose, closed_directory

STRANGER = Account("stranger", 54321, 54321, borrowed=True)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses an account")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root has a choice")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True)
    return path


@as_root
def test_root_lends_an_account_that_exists() -> None:
    account = choose({})
    assert account.borrowed
    assert account.name in ("postgres", "nobody")
    assert account.uid == pwd.getpwnam(account.name).pw_uid
    assert account.popen_options()["user"] == account.uid


@as_root
@pytest.mark.parametrize(("name", "words"), [("root", "refuses to run as root"), ("no-such-account", "no account")])
def test_root_and_an_unknown_account_are_refused(name: str, words: str) -> None:
    with pytest.raises(AccountRefused, match=words):
        choose({"SETPOINT_PG_USER": name})


@as_root
def test_the_named_account_is_taken() -> None:
    assert choose({"SETPOINT_PG_USER": "nobody"}).name == "nobody"


@as_user
def test_a_user_runs_it_as_itself() -> None:
    account = choose({})
    assert not account.borrowed
    assert "user" not in account.popen_options()
    with pytest.raises(AccountRefused, match="only root"):
        choose({"SETPOINT_PG_USER": "no-such-account"})


def test_the_first_closed_directory_is_named(deep: Path) -> None:
    # pytest's own directory is closed to strangers; that is the obstacle this is about.
    closed = [directory for directory in (deep, *deep.parents) if not directory.stat().st_mode & 0o001]
    assert closed_directory(STRANGER, deep) == closed[-1]
    assert closed_directory(Account("own", os.geteuid(), os.getegid(), borrowed=False), deep) is None


def test_group_and_owner_are_seen(deep: Path) -> None:
    facts = deep.stat()
    deep.chmod(0o700)
    assert closed_directory(Account("owner", facts.st_uid, 1, borrowed=True), deep) is None
    deep.chmod(0o010)
    assert closed_directory(Account("owner", facts.st_uid, 1, borrowed=True), deep) == deep
    deep.chmod(0o700)


def test_what_does_not_exist_yet_is_no_obstacle() -> None:
    assert closed_directory(STRANGER, Path("/usr/not/there/yet")) is None
