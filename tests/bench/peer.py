"""nagi-cli beside us: in a virtual environment of its own, with a home of its own, the same resource files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.processes import cpu_s
from tests.bench.run import Run

VERSION = "0.0.2"
_LOOK_S = 0.01
_LIMIT_S = 300.0


def install(root: Path) -> Path:
    """Make the virtual environment and return the program."""
    subprocess.run([sys.executable, "-m", "venv", str(root / "nagi")], check=True)
    pip = [str(root / "nagi" / "bin" / "pip"), "install", "-q", f"nagi-cli=={VERSION}"]
    subprocess.run(pip, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return root / "nagi" / "bin" / "nagi"


def converge(program: Path, root: Path, graph: Mapping[str, list[str]], files: Mapping[str, str]) -> Run:
    """Serve a project from nothing until every asset was found Ready; the time begins with the start of ``serve``."""
    (root / "home" / ".nagi").mkdir(parents=True)
    for path, text in ({"nagi.yaml": "{}\n"} | dict(files)).items():
        (root / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "project" / path).write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(root / "home"), "LANG": "C.UTF-8"}
    with (root / "serve.log").open("wb") as log:
        begun = time.monotonic()
        served = subprocess.Popen(
            [str(program), "serve"],
            cwd=root / "project",
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        try:
            _wait(served, root, set(graph))
            wall_s, used_s = time.monotonic() - begun, cpu_s([served.pid])
        finally:
            served.send_signal(signal.SIGINT)
            try:
                served.wait(20)
            except subprocess.TimeoutExpired:
                served.kill()
                served.wait()
    return Run(wall_s, used_s, *_counts(root))


def _wait(served: subprocess.Popen[bytes], root: Path, names: set[str]) -> None:
    """Wait until the log store says Ready of every asset; it is not asked before every file is there."""
    pause, deadline = threading.Event(), time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline and served.poll() is None:
        made = {path.stem for path in (root / "project").glob("*.txt")}
        if made >= names and _ready(root) >= names:
            return
        pause.wait(_LOOK_S)
    raise AssertionError(f"nagi did not converge: {(root / 'serve.log').read_text()[-2000:]}")


def _ready(root: Path) -> set[str]:
    try:
        rows = _rows(root, "select distinct asset_name from evaluate_logs where result = 'Ready'")
    except sqlite3.OperationalError:
        return set()  # it writes just now
    return {str(row[0]) for row in rows}


def _counts(root: Path) -> tuple[int, int]:
    """Return how many evaluations and syncs it has logged."""
    ((evaluations,),) = _rows(root, "select count(distinct evaluation_id) from evaluate_logs")
    ((syncs,),) = _rows(root, "select count(distinct execution_id) from sync_logs")
    return int(str(evaluations)), int(str(syncs))


def _rows(root: Path, question: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"file:{root / 'home' / '.nagi' / 'logs.db'}?mode=ro", uri=True, timeout=1.0)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()
