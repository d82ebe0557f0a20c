"""The Postgres server of a test run: the one named by the environment, one in a container, or an embedded one.

Only ``tests/conftest.py`` calls this. Every pytest process has its own embedded server in a temporary directory, so
runs do not meet; servers whose run was killed are stopped and removed by the next run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from setpoint.local.postgres import PostgresCluster
from setpoint.runtime import process_start

IMAGE = "postgres:17-alpine"
PULL_S = 60.0
_PREFIX = "setpoint-pg-"
T = TypeVar("T")


def settle(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own, beside whatever loop this thread has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextlib.contextmanager
def server(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the DSN of a role that may create roles and databases, for as long as the run lasts."""
    given = environ.get("SETPOINT_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with contextlib.ExitStack() as stack:
        dsn = _container(stack)
        yield dsn or stack.enter_context(_embedded())


@contextlib.contextmanager
def _embedded() -> Iterator[str]:
    _sweep()
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    root.chmod(0o711)  # Postgres runs under another account when the tests run as root
    (root / "owner").write_text(f"{os.getpid()} {process_start(os.getpid())}")
    cluster = PostgresCluster(root / "postgres")
    try:
        settle(cluster.start())
        yield cluster.admin_dsn
    finally:
        settle(cluster.stop())
        shutil.rmtree(root)


def _sweep() -> None:
    """Stop and remove the servers of runs that were killed before they could."""
    for root in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        with contextlib.suppress(OSError, ValueError):  # being made, being removed, or somebody else's
            pid, start = (root / "owner").read_text().split()
            if root.stat().st_uid == os.geteuid() and process_start(int(pid)) != int(start):
                settle(PostgresCluster(root / "postgres").stop())
                shutil.rmtree(root)


def _container(stack: contextlib.ExitStack) -> str | None:
    """Start a container where an engine answers and has, or can get, the image; None where not."""
    engine = _engine()
    if engine is None:
        return None
    stack.callback(engine.close)
    if not _has_image(engine):
        warnings.warn(
            f"the container engine has no {IMAGE} and cannot get it: using the embedded Postgres", stacklevel=2
        )
        return None
    from testcontainers.community.postgres import PostgresContainer

    container = stack.enter_context(PostgresContainer(IMAGE, username="postgres", driver=None))
    return str(container.get_connection_url())


def _engine() -> Any | None:
    """Return a client of an engine that answers. The program ``docker`` may well be there without one."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return None
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a client that cannot connect leaves its socket behind
        try:
            return docker.from_env(timeout=2)  # asks the engine for its version
        except DockerException:
            return None
        finally:
            gc.collect()


def _has_image(engine: Any) -> bool:
    from docker.errors import DockerException, ImageNotFound

    def pull() -> None:
        with contextlib.suppress(DockerException):
            engine.images.pull(IMAGE)

    try:
        engine.images.get(IMAGE)
    except ImageNotFound:
        # A daemon thread: a registry that never answers must not hold the run.
        puller = threading.Thread(target=pull, daemon=True)
        puller.start()
        puller.join(PULL_S)
    except DockerException:
        return False
    try:
        engine.images.get(IMAGE)
    except DockerException:
        return False
    return True
