"""The files that Origins are read from, by their paths. Called by whoever gathers the files of a project for compile.

Light on purpose: the command line asks it before it knows whether there is anything to compile.
"""

from __future__ import annotations

from typing import Final

_MANIFEST: Final = "target/manifest.json"


def manifest_of(directory: str) -> str:
    """Return the path of the manifest of the dbt project in a directory; ``.`` is the root of the project."""
    return _MANIFEST if directory == "." else f"{directory}/{_MANIFEST}"


def is_manifest(path: str) -> bool:
    """Tell whether the file at this path of a project is one that an Origin may name."""
    return path == _MANIFEST or path.endswith(f"/{_MANIFEST}")


def mentions_origin(path: str, content: bytes) -> bool:
    """Tell whether a file of the project may hold an Origin: only then its manifests have to be at hand."""
    return path.startswith("resources/") and b"Origin" in content
