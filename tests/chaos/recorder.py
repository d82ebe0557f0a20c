"""The recorder: what syncs and tools wrote down themselves, kept where Setpoint cannot reach it.

A thread opens each file of a workspace when it appears and keeps it open, so a workspace that is deleted, or made anew
elsewhere, takes nothing with it. It writes nothing into a workspace.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import BinaryIO, Final

FILES: Final = ("recorder.log", "beats.log", "marks.log")
_LOOK_S: Final = 0.1


class Recorder:
    """Watches the workspaces of all sandbox hosts below ``root`` until ``close``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[tuple[str, int, int], BinaryIO] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recorder", daemon=True)
        self._thread.start()

    def texts(self, name: str) -> list[str]:
        """Return the content of every file of this name there ever was, oldest first."""
        self._look()
        found = []
        for (kind, _, _), file in list(self._files.items()):
            if kind == name:
                file.seek(0)
                found.append(file.read().decode())
        return found

    def close(self) -> None:
        """Stop watching and close the files."""
        self._ended.set()
        self._thread.join(timeout=10)
        for file in self._files.values():
            file.close()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        for name in FILES:
            for path in self._root.glob(f"sandboxd*/sandboxd/ws/*/*/{name}"):
                try:
                    state = path.stat()
                    key = (name, state.st_dev, state.st_ino)
                    if key not in self._files:
                        self._files[key] = path.open("rb")
                except FileNotFoundError:
                    continue  # the workspace went between the two looks; it was seen before, or had been empty
