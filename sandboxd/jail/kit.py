"""The program that asks databases, made ready for a sandbox: interpreter, libraries and sandboxd/probe together.

``__main__`` makes it once at start, both drivers start it for a probe. A sandbox has no account, interpreter or virtual
environment of this host, so everything that is not under /usr anyway is linked into a directory of this host's own. It
holds nothing of a tenant.
"""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import sqlite3
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

from setpoint.local.farm import link_files

_NAME: Final = "probe"
_START: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from sandboxd.probe.__main__ import main; main()"
_LEFT_OUT: Final = (
    *("test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip"),
    *("pydoc_data", "distutils", "venv", "unittest", "asyncio", "multiprocessing", "wsgiref", "xmlrpc", "curses"),
)


@dataclass(frozen=True, slots=True)
class Kit:
    """A directory with the program. ``python`` is absolute, or relative to it; ``libraries``: it has some of its own.

    ``fault``, when there is one, is why there is no program: then every probe is refused with it.
    """

    directory: Path
    python: str
    libraries: bool = False
    fault: str = ""

    def command(self, seen_at: str, question: int) -> tuple[str, ...]:
        """Return the command that answers the question behind a descriptor, where the directory is ``seen_at``.

        Raises ValueError when there is no program.
        """
        if self.fault:
            raise ValueError(f"this sandbox host cannot ask databases: {self.fault}")
        # Isolated, without site and without caches: nothing of the workspace is imported, nothing is written.
        options = ("-I", "-S", "-B", "-X", "utf8")
        return (os.path.join(seen_at, self.python), *options, "-c", _START, f"{seen_at}/lib", str(question))

    def environment(self, seen_at: str) -> dict[str, str]:
        """Return what the command needs in its environment beside the words of every step."""
        return {"LD_LIBRARY_PATH": f"{seen_at}/python/lib"} if self.libraries else {}


def make_kit(root: Path) -> Kit:
    """Make the directory below ``root``, or find it made; those of earlier versions are removed.

    Never fails: what went wrong is the kit's ``fault``, because a host that can ask no database still runs commands.
    """
    try:
        python, libraries = _python(), _libraries()
        own = not python.is_relative_to("/usr")
        files = dict(_packages())
        if own:
            files |= {"python/bin/python3": python, **dict(_standard_library()), **libraries}
        directory = link_files(files, root, _NAME, _compile)
    except (OSError, PackageNotFoundError) as error:
        return Kit(root, "", fault=f"{type(error).__name__}: {error}")
    for other in root.glob(f"{_NAME}-*"):
        if other != directory:
            shutil.rmtree(other, ignore_errors=True)
    return Kit(directory, "python/bin/python3" if own else str(python), libraries=own and bool(libraries))


def _python() -> Path:
    """Return the interpreter itself, not the link to it in a virtual environment."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))


def _packages() -> Iterator[tuple[str, Path]]:
    """Yield DuckDB's package and sandboxd/probe by their places in the directory."""
    found = distribution("duckdb")
    for file in found.files or ():
        top = file.parts[0]
        wanted = top == "duckdb" or (top.startswith("_duckdb.") and top.endswith(".so")) or file.name == "METADATA"
        if wanted and "experimental" not in file.parts and "__pycache__" not in file.parts and file.suffix != ".pyi":
            yield f"lib/{file}", Path(str(found.locate_file(file)))
    for package in ("sandboxd", "sandboxd.probe"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None, "this package finds itself"
        here = Path(spec.origin).parent
        names = ["__init__.py"] if package == "sandboxd" else [path.name for path in here.glob("*.py")]
        for name in names:
            yield f"lib/{package.replace('.', '/')}/{name}", here / name


def _standard_library() -> Iterator[tuple[str, Path]]:
    """Yield the standard library without what no program of ours imports, with its caches."""
    top = Path(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    cached = f".{sys.implementation.cache_tag}.pyc"
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in files:
            if name.endswith((".py", ".so", cached)):
                path = Path(directory, name)
                yield f"python/lib/{version}/{path.relative_to(top)}", path


def _libraries() -> dict[str, Path]:
    """Return the shared libraries of the interpreter's own that it has loaded, by their places in the directory."""
    assert sqlite3.sqlite_version, "what the program loads is loaded here, too"
    top = Path(sys.base_prefix, "lib")
    loaded = {line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    return {
        f"python/lib/{path.name}": path
        for path in top.glob("lib*.so*")
        if os.path.realpath(path) in loaded and path.is_file()
    }


def _compile(directory: Path) -> None:
    """Compile what brings no caches, once: the program starts twice as fast."""
    mode = PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(directory / "lib", quiet=2, invalidation_mode=mode)
    for path in (directory / "lib").rglob("__pycache__"):
        path.chmod(0o755)
        for cache in path.iterdir():
            cache.chmod(0o644)
