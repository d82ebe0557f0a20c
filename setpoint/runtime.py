"""The contract between a process and its host: environment, log line, clocks, ids, signals, exit codes.

Every daemon's ``__main__`` and ``config`` call this; it is the one impure room they share. It decides nothing.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from setpoint.contracts import ids, limits
from setpoint.contracts.clock import parse_duration_s
from setpoint.objects import open_store

EXIT_CONFIG: Final = 2
EXIT_FAILED: Final = 1


def now_us() -> int:
    """Return the wall clock in microseconds since the epoch. Never compare two hosts' readings."""
    return time.time_ns() // 1000


def now_s() -> int:
    """Return the wall clock in whole seconds since the epoch, for tokens."""
    return int(time.time())


def boottime_s() -> float:
    """Return CLOCK_BOOTTIME in seconds: it goes on while the machine sleeps and never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, None when there is none: with its pid it is unique.

    A zombie counts as gone: it runs nothing any more.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def new_id() -> str:
    """Make a fresh UUIDv7."""
    return ids.uuid7(now_us(), os.urandom(10))


def new_secret(bytes_: int = 24) -> str:
    """Make a secret of ``bytes_`` random bytes as base64url text."""
    return base64.urlsafe_b64encode(os.urandom(bytes_)).rstrip(b"=").decode()


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return where durable state lives: SETPOINT_STATE_DIR, /var/lib/setpoint as root, else under XDG_STATE_HOME."""
    if environ.get("SETPOINT_STATE_DIR"):
        return Path(environ["SETPOINT_STATE_DIR"]).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/setpoint")
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "setpoint"


class Env:
    """Read settings from a mapping and collect every fault, so that a daemon can report all of them at once.

    Each reader returns a usable value even when it noted a fault; call ``finish`` last: it exits with 2 when
    there was any. Secrets are read from ``NAME_FILE`` (preferred) or ``NAME``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        """Read a required (no default) or optional text."""
        value = self.environ.get(name) or default
        if value is None:
            self.faults.append(f"{name} is not set")
            return ""
        return value

    def secret(self, name: str, *, required: bool = True) -> str:
        """Read a secret from the file named by ``NAME_FILE``, else from ``NAME``."""
        path = self.environ.get(name + "_FILE")
        if path:
            try:
                return Path(path).read_text().strip()
            except OSError as error:
                self.faults.append(f"{name}_FILE: cannot read {path}: {error.strerror}")
                return ""
        value = self.environ.get(name, "")
        if required and not value:
            self.faults.append(f"neither {name}_FILE nor {name} is set")
        return value

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """Read a number between ``low`` and ``high``, both included."""
        text = self.environ.get(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            self.faults.append(f"{name}={text!r} is not a number")
            return default
        if not low <= value <= high:
            self.faults.append(f"{name}={text} is not between {low:g} and {high:g}")
        return value

    def duration_s(self, name: str, default_s: float) -> float:
        """Read a duration such as ``90s`` or ``5m`` into seconds."""
        text = self.environ.get(name)
        if not text:
            return default_s
        try:
            return parse_duration_s(text)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return default_s

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """Read one of a few words."""
        value = self.environ.get(name) or default
        if value not in allowed:
            self.faults.append(f"{name}={value!r} is none of {', '.join(allowed)}")
            return default
        return value

    def listen(self, name: str, default: str) -> tuple[str, int]:
        """Read ``host:port``; anything but loopback is refused, because daemon links have no TLS yet."""
        text = self.environ.get(name) or default
        host, _, port = text.rpartition(":")
        if not port.isdigit() or not 0 <= int(port) <= 65535 or not host:
            self.faults.append(f"{name}={text!r} is not host:port")
            return "127.0.0.1", 0
        if host not in ("127.0.0.1", "localhost", "[::1]", "::1"):
            self.faults.append(f"{name}={text!r}: only loopback can be bound without TLS")
        return host.strip("[]"), int(port)

    def lease_ttl_s(self) -> float:
        """Read SETPOINT_LEASE_TTL: the life of a cell host's lease, and so the age of a clock token that still counts.

        All hosts of a cluster are given the same.
        """
        ttl_s = self.duration_s("SETPOINT_LEASE_TTL", limits.LEASE_TTL_S)
        if not limits.LEASE_TTL_S_MIN <= ttl_s <= limits.LEASE_TTL_S_MAX:
            low, high = limits.LEASE_TTL_S_MIN, limits.LEASE_TTL_S_MAX
            self.faults.append(f"SETPOINT_LEASE_TTL is not between {low:g}s and {high:g}s")
        return ttl_s

    def brokers(self) -> tuple[str, ...]:
        """Read SETPOINT_BROKERS: ``host:port`` each, separated by commas; none is allowed."""
        found = tuple(filter(None, (part.strip() for part in self.environ.get("SETPOINT_BROKERS", "").split(","))))
        for broker in found:
            host, _, port = broker.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                self.faults.append(f"SETPOINT_BROKERS: {broker!r} is not host:port")
        return found

    def objects(self) -> str:
        """Read SETPOINT_OBJECTS, the object store that all hosts share; a store that cannot be opened is a fault."""
        location = self.text("SETPOINT_OBJECTS", str(self.state_dir() / "objects"))
        try:
            open_store(location)
        except ValueError as error:
            self.faults.append(str(error))
        except OSError as error:
            self.faults.append(f"SETPOINT_OBJECTS={location}: {error.strerror}")
        return location

    def state_dir(self) -> Path:
        """Return the state directory (see ``default_state_dir``)."""
        return default_state_dir(self.environ)

    def finish(self, process: str) -> None:
        """Exit with 2 and one line per fault on stderr when any was noted."""
        if self.faults:
            for fault in self.faults:
                print(f"{process}: {fault}", file=sys.stderr)
            raise SystemExit(EXIT_CONFIG)


def host_name(environ: Mapping[str, str], kind: str) -> str:
    """Return the host id: SETPOINT_HOST_ID, else the machine's name and ``kind``, made into a legal name."""
    raw = environ.get("SETPOINT_HOST_ID") or f"{socket.gethostname()}-{kind}"
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in raw.lower()).strip("._-")
    return kept[:128] or kind


def setup_logging(process: str, environ: Mapping[str, str]) -> None:
    """Send structlog and the standard log to stderr, as console text or one JSON object a line."""
    level = getattr(logging, environ.get("SETPOINT_LOG_LEVEL", "info").upper(), logging.INFO)
    json_lines = environ.get("SETPOINT_LOG_FORMAT", "console") == "json"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tail: list[Any] = [structlog.processors.format_exc_info] if json_lines else []
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and "NO_COLOR" not in environ)
    )
    structlog.configure(
        processors=[*shared, *tail, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    floor = max(level, logging.WARNING)
    logging.basicConfig(level=floor, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("aiohttp.server").addFilter(_is_no_bad_http)


def _is_no_bad_http(record: logging.LogRecord) -> bool:
    """Leave out what the HTTP parser has refused: any stranger could fill the disk with its traces."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__module__ != "aiohttp.http_exceptions"


def log() -> Any:
    """Return the process logger: ``log().info("what happened", key=value)``. Never pass a secret."""
    return structlog.get_logger()


def notify_ready() -> None:
    """Tell a service supervisor that the process serves (sd_notify), when one listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.connect("\0" + address[1:] if address.startswith("@") else address)
        link.sendall(b"READY=1")


def run_daemon(process: str, serve: Callable[[asyncio.Event], Awaitable[None]]) -> NoReturn:
    """Run ``serve(stop)`` until it returns; SIGTERM and SIGINT set ``stop``. Exits 0, or 1 when it raised.

    An exception that reaches this point is a bug or a lost dependency: the process says so and dies, and its owner
    (supervisor, lease, log) carries on from what is durable.
    """
    setup_logging(process, os.environ)
    _take_descriptors()
    try:
        _new_runner(serve)
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    except Exception as error:  # an entry point: whatever it is, say it and die
        log().exception("daemon died", why="; ".join(dict.fromkeys(_reasons(error))))
        raise SystemExit(EXIT_FAILED) from None
    raise SystemExit(0)


def _reasons(error: Exception) -> list[str]:
    """Return what an error, or each of a group, says of itself: a traceback of a group ends in a line of dashes."""
    if isinstance(error, ExceptionGroup):
        return [reason for one in error.exceptions for reason in _reasons(one)]
    return [f"{type(error).__name__}: {error}".rstrip(": ")]


def _take_descriptors() -> None:
    """Raise the soft limit of open files, often 1024, to what is allowed: as many idle connections would use it up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, limits.OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _new_runner(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    import uvloop

    async def body() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gc.freeze()
        await serve(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())
