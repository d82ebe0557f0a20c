"""A readable copy of program directories for another account, made of hard links.

A virtual environment may lie under a directory that an unprivileged account cannot enter (``/root``). Instead of
opening that directory, the programs are linked into one the account can enter. The Postgres supervisor and the sandbox
host call this. It never changes the permissions of what it links, and never touches a farm that is already there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

_DIR_MODE: Final = 0o755
_FOR_ALL: Final = 0o444


def link_farm(source_dirs: Sequence[Path], dest_root: Path) -> Path:
    """Make ``source_dirs`` readable under ``dest_root`` and return the directory that now stands for their parent.

    The directories keep their places relative to each other, so a program still finds a library by a path relative to
    its own. Files are hard links; where that cannot be (another file system, or a file that others may not read) they
    are copies. The farm is named by what is in it: the same sources give the same directory, and it is built aside and
    renamed, so it is whole or absent. Costs about 30 ms for Postgres. Raises OSError when it cannot be written.
    """
    parent = Path(os.path.commonpath([directory.resolve().parent for directory in source_dirs]))
    places = [directory.resolve().relative_to(parent) for directory in source_dirs]
    farm = dest_root / f"{places[0].parts[0]}-{_fingerprint(parent, places)}"

    def fill(building: Path) -> None:
        for place in places:
            _link_tree(parent, place, building)

    return _whole_or_absent(farm, fill)


def link_files(files: Mapping[str, Path], dest_root: Path, name: str, finish: Callable[[Path], object]) -> Path:
    """Make a directory of single files readable under ``dest_root`` and return it, as ``link_farm`` does of trees.

    ``files`` are the sources by their place in the directory, which is named by ``name`` and what is in it. ``finish``
    is called with it before it gets its name, to add what belongs to it. Raises OSError when it cannot be written.
    """
    digest = hashlib.sha256()
    for place, source in sorted(files.items()):
        facts = os.stat(source)
        digest.update(f"\0{place}\0{source}\0{facts.st_size}\0{facts.st_mtime_ns}".encode())
    farm = dest_root / f"{name}-{digest.hexdigest()[:12]}"

    def fill(building: Path) -> None:
        made: set[Path] = set()
        for place, source in files.items():
            target = building / place
            for above in reversed(target.parents[: len(Path(place).parents) - 1]):
                if above not in made:
                    _make_dir(above)
                    made.add(above)
            _link_file(source.resolve() if source.is_symlink() else source, target)
        finish(building)

    return _whole_or_absent(farm, fill)


def _whole_or_absent(farm: Path, fill: Callable[[Path], object]) -> Path:
    """Have a farm built aside and give it its name; one that is there already is as good."""
    if farm.is_dir():
        return farm
    _make_dir(farm.parent)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=farm.parent))
    try:
        building.chmod(_DIR_MODE)
        fill(building)
        try:
            building.rename(farm)
        except OSError as error:
            # Somebody else built the same farm at the same moment.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return farm


def _fingerprint(parent: Path, places: Iterable[Path]) -> str:
    digest = hashlib.sha256(str(parent).encode())
    for place in places:
        for directory, names, files in os.walk(parent / place, onerror=_refuse):
            names.sort()
            for name in sorted(files):
                path = os.path.join(directory, name)
                facts = os.lstat(path)
                digest.update(f"\0{path}\0{facts.st_size}\0{facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def _link_tree(parent: Path, place: Path, building: Path) -> None:
    for above in reversed(place.parents):
        _make_dir(building / above)
    for directory, names, files in os.walk(parent / place, onerror=_refuse):
        target = building / Path(directory).relative_to(parent)
        _make_dir(target)
        for name in [*files, *(n for n in names if os.path.islink(os.path.join(directory, n)))]:
            _link_file(Path(directory, name), target / name)


def _link_file(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    mode = source.stat().st_mode & 0o777
    if mode & _FOR_ALL == _FOR_ALL and (not mode & 0o100 or mode & 0o111 == 0o111):
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
        else:
            return
    shutil.copy2(source, target)
    target.chmod(mode | _FOR_ALL | (0o111 if mode & 0o100 else 0))


def _refuse(error: OSError) -> None:
    raise error  # os.walk would pass over a directory it cannot read


def _make_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return
    path.chmod(_DIR_MODE)  # the umask may have taken away what this directory is for
