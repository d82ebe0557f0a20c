"""The driver that isolates: every step is a bubblewrap of its own, thrown away after it.

Made once at start by ``probe``. What a sandbox consists of is ``core.plan``; this looks at the host and starts it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from sandboxd.core import plan, seccomp
from sandboxd.jail.driver import Place, in_memory, marker, step_marker
from sandboxd.jail.kit import Kit
from sandboxd.jail.process import Process
from setpoint.contracts import limits
from setpoint.contracts.run import Step

_TOP: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC: Final = ("alternatives", "ssl/certs", "ca-certificates.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "pki")
_HIDDEN_FILES: Final = (
    *("kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug", "kmsg", "config.gz", "cmdline"),
    *("kpagecount", "kpageflags", "kpagecgroup", "sysrq-trigger", "iomem", "ioports", "interrupts", "modules"),
)
_HIDDEN_DIRS: Final = ("acpi", "scsi", "fs", "bus", "irq", "driver")
_ACCOUNTS: Final = {
    "passwd": f"sandbox:x:{plan.INSIDE_UID}:{plan.INSIDE_UID}:sandbox:{plan.WORKSPACE}:/bin/sh\n",
    "group": f"sandbox:x:{plan.INSIDE_UID}:\n",
}


class BwrapJail:
    """Runs steps with the bubblewrap at ``program``, probes with the program of ``kit``."""

    def __init__(self, program: Path, layout: plan.Layout, ledger_id: str, kit: Kit, *, own_uid: bool) -> None:
        self._program, self._layout, self._marker = program, layout, marker(ledger_id)
        self._own_uid, self._kit = own_uid, kit
        self._filter = seccomp.program(platform.machine())
        self.enforced: Mapping[str, str] = {
            "isolation": "bwrap",
            "network": "none",
            "root": "read-only",
            "uid": "per-session" if own_uid else "shared",
            "userns": "off" if layout.userns_off else "on",
            "seccomp": "none" if self._filter is None else "partial",
            "memory": "none",
            "cpu": "none",
            "pids": "rlimit" if own_uid else "none",
            "disk": "none",
        }

    def spawn(self, place: Place, run_id: str, step: Step) -> Process:
        """Start a step in a sandbox of its own; see ``driver.Jail``."""
        word = step_marker(run_id, step.index)
        if step.probe is None:
            return self.run(place, step.argv, plan.environment(step), word)
        question = in_memory(msgspec.json.encode(step.probe))
        try:
            argv = self._kit.command(plan.KIT, question)
            env = plan.environment(step) | self._kit.environment(plan.KIT)
            return self.run(place, argv, env, word, question=question)
        finally:
            os.close(question)

    def run(
        self,
        place: Place,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        word: str,
        *,
        question: int | None = None,
    ) -> Process:
        """Start a command in a sandbox, with exactly this environment; its processes can be found by ``word``.

        With a ``question``, a descriptor, it is a probe: its program is seen, and the workspace cannot be written.
        """
        status, status_inside = os.pipe()
        filtered = () if self._filter is None else (in_memory(self._filter),)
        options = plan.describe(
            self._layout,
            str(place.workspace),
            env,
            status_fd=status_inside,
            filter_fds=filtered,
            tmp_bytes_max=limits.SANDBOX_TMP_BYTES_MAX,
            kit=None if question is None else str(self._kit.directory),
        )
        asked = () if question is None else (question,)
        listed = in_memory(b"".join(os.fsencode(word) + b"\0" for word in options))
        # --unsetenv changes nothing after --clearenv: it is there to be seen in the arguments (driver.marker).
        seen = ("--unsetenv", self._marker, "--unsetenv", word)
        outer = (str(self._program), *seen, "--args", str(listed), "--", *argv)
        try:
            return Process(
                outer,
                limit_processes=self._own_uid,
                uid=place.uid,
                env={},
                cwd="/",
                status_fd=status,
                word=word,
                pass_fds=(status_inside, listed, *filtered, *asked),
            )
        except BaseException:
            os.close(status)
            raise
        finally:
            for descriptor in (status_inside, listed, *filtered):
                os.close(descriptor)


def look_at_host(etc: Path, mounts: tuple[str, ...], *, userns_off: bool) -> plan.Layout:
    """Find out what of this host a sandbox is to see. ``etc`` gets the sandbox's own account files."""
    etc.mkdir(exist_ok=True)
    etc.chmod(0o755)
    for name, content in _ACCOUNTS.items():
        (etc / name).write_text(content)
        (etc / name).chmod(0o644)
    top = [Path("/", name) for name in _TOP]
    wanted = [Path("/etc", name) for name in _ETC]
    binds = [
        ("/usr", "/usr"),
        *((str(path), str(path)) for path in top if path.is_dir() and not path.is_symlink()),
        *((str(path), str(path)) for path in wanted if path.exists()),
        *((str(etc / name), f"/etc/{name}") for name in _ACCOUNTS),
        *((mount, mount) for mount in mounts),
    ]
    proc = Path("/proc")
    return plan.Layout(
        binds=tuple(binds),
        links=tuple((str(path), str(path.readlink())) for path in top if path.is_symlink()),
        hidden_files=tuple(str(proc / name) for name in _HIDDEN_FILES if (proc / name).exists()),
        hidden_dirs=tuple(str(proc / name) for name in _HIDDEN_DIRS if (proc / name).is_dir()),
        userns_off=userns_off,
    )
