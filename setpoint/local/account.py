"""Which account Postgres runs under, and which directories that account can enter.

The supervisor calls this before it writes anything. Postgres refuses to run as root, so root lends it an existing
account; nothing here makes an account or changes the permissions of a directory.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_CANDIDATES: Final = ("postgres", "nobody")


class AccountRefused(Exception):
    """No account can be used, or it cannot reach a directory; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine. ``borrowed`` says that it is another than the one this process runs as."""

    name: str
    uid: int
    gid: int
    borrowed: bool

    def popen_options(self) -> dict[str, Any]:
        """Return the keyword arguments that make ``subprocess`` run a program as this account, with an own umask.

        The working directory is ``/``: an inherited one may be closed to the account.
        """
        options: dict[str, Any] = {"cwd": "/", "umask": 0o077}
        if self.borrowed:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def give(self, path: Path) -> None:
        """Hand a path that this process has just made over to the account."""
        if self.borrowed:
            os.chown(path, self.uid, self.gid)


def choose(environ: Mapping[str, str]) -> Account:
    """Return the account for Postgres: this process's own, or as root SETPOINT_PG_USER, else postgres, else nobody.

    It has to exist in the account database, because initdb looks itself up there. Raises AccountRefused.
    """
    wanted = environ.get("SETPOINT_PG_USER")
    if os.geteuid() != 0:
        own = _look_up(os.geteuid())
        if wanted and wanted != own.pw_name:
            raise AccountRefused(f"SETPOINT_PG_USER={wanted}: only root can run Postgres under another account")
        return Account(own.pw_name, own.pw_uid, own.pw_gid, borrowed=False)
    for name in (wanted,) if wanted else _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid == 0:
            raise AccountRefused(f"SETPOINT_PG_USER={name}: Postgres refuses to run as root")
        return Account(name, entry.pw_uid, entry.pw_gid, borrowed=True)
    raise AccountRefused(f"no account {wanted or ' or '.join(_CANDIDATES)} on this machine to run Postgres under")


def closed_directory(account: Account, path: Path) -> Path | None:
    """Return the first directory on the way to ``path`` that ``account`` may not enter, None when the way is open.

    Reads permission bits only; what does not exist yet is nobody's obstacle.
    """
    for directory in (*reversed(path.parents), path):
        try:
            facts = directory.stat()
        except FileNotFoundError:
            return None
        if not _may_enter(account, facts):
            return directory
    return None


def _may_enter(account: Account, facts: os.stat_result) -> bool:
    if facts.st_uid == account.uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    groups = {account.gid} if account.borrowed else {account.gid, os.getegid(), *os.getgroups()}
    if facts.st_gid in groups:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def _look_up(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise AccountRefused(f"user id {uid} has no entry in the account database, which initdb needs") from None
