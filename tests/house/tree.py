"""The tree as the house tests read it: which files there are, and their syntax. Judges nothing."""

from __future__ import annotations

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("setpoint", "gateway", "broker", "celld", "sandboxd", "migrations")
_SKIPPED = {"__pycache__", ".git", ".venv", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def source() -> list[Path]:
    """Return the modules that ship."""
    return [path for room in ROOMS for path in _python(ROOT / room)]


def tests(*folders: str) -> list[Path]:
    """Return the modules of the tests, or of some of their folders."""
    return [path for folder in folders or ("",) for path in _python(ROOT / "tests" / folder)]


def texts() -> list[Path]:
    """Return every text file that belongs to the repository."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not _SKIPPED & set(parts) and not parts[0].startswith(".venv"):
            found.append(path)
    return found


@functools.cache
def syntax(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(), str(path))


def place(path: Path, line: int = 1) -> str:
    """Return ``file:line``, as editors and terminals open it."""
    return f"{path.relative_to(ROOT)}:{line}"


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a module."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def entry_points() -> set[str]:
    """Return the files whose duty it is to catch everything: those that pyproject.toml excepts from BLE001."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    excepted = settings["tool"]["ruff"]["lint"]["per-file-ignores"]
    return {name for name, rules in excepted.items() if "BLE001" in rules}


def _python(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if not _SKIPPED & set(path.parts))
