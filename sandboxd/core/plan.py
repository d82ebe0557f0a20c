"""What a sandbox is made of, as arguments of bubblewrap, and the environment of a step. Pure.

The jail calls this with the host's layout as it found it. Flags and their reasons were measured once: nothing is made
below the tenant's own mount (a planted symlink would be followed), the root and /dev become read-only last, and
options go through a file descriptor, so that /proc/1/cmdline shows no workspace of this host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from setpoint.contracts import limits
from setpoint.contracts.run import Step

WORKSPACE: Final = "/workspace"
KIT: Final = "/setpoint"
"""Where a probe finds its program; no other step has this directory."""

INSIDE_UID: Final = 1000
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHM_BYTES_MAX: Final = 64 * limits.MIB


@dataclass(frozen=True, slots=True)
class Layout:
    """What of the host a sandbox sees, read-only.

    ``binds`` are (source, place) pairs, ``links`` (place, target) pairs for directories that are symlinks on the host
    (``/bin``), ``hidden_files`` and ``hidden_dirs`` entries of /proc that say too much about the host.
    ``userns_off`` forbids further user namespaces inside, where the installed bubblewrap and kernel can.
    """

    binds: tuple[tuple[str, str], ...] = (("/usr", "/usr"),)
    links: tuple[tuple[str, str], ...] = ()
    hidden_files: tuple[str, ...] = ()
    hidden_dirs: tuple[str, ...] = ()
    userns_off: bool = True


def environment(step: Step, *, home: str = WORKSPACE) -> dict[str, str]:
    """Return the whole environment of a step: five words of ours, then its own. Nothing of the daemon's gets in.

    A probe has the five alone: it needs no secret, and a variable such as LD_PRELOAD would make it another program.
    """
    given = {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "TZ": "UTC", "TMPDIR": "/tmp"}
    return given if step.probe is not None else given | dict(step.env)


def held(step: Step, enforced: Mapping[str, str]) -> dict[str, str]:
    """Return what holds for one step: what does for every step of the host, and for an isolated probe one more."""
    isolated = enforced.get("isolation") == "bwrap"
    return dict(enforced) | ({"workspace": "read-only"} if step.probe is not None and isolated else {})


def describe(
    layout: Layout,
    workspace: str,
    env: Mapping[str, str],
    *,
    status_fd: int,
    tmp_bytes_max: int,
    filter_fds: tuple[int, ...] = (),
    kit: str | None = None,
) -> tuple[str, ...]:
    """Return bubblewrap's options for one step in ``workspace`` (a path of the host).

    ``filter_fds`` is the descriptor of the filter of system calls, or empty. ``kit``, for a probe alone, is the
    directory of its program: it is seen under ``KIT``, and the workspace can only be read.
    """
    return (
        *_namespaces(layout),
        "--clearenv",
        *(word for name, value in env.items() for word in ("--setenv", name, value)),
        *(word for source, place in layout.binds for word in ("--ro-bind", source, place)),
        *(word for place, target in layout.links for word in ("--symlink", target, place)),
        *("--proc", "/proc"),
        *(word for path in layout.hidden_files for word in ("--ro-bind", "/dev/null", path)),
        *(word for path in layout.hidden_dirs for word in ("--tmpfs", path, "--remount-ro", path)),
        *("--dev", "/dev"),
        *("--size", str(_SHM_BYTES_MAX), "--perms", "1777", "--tmpfs", "/dev/shm"),
        *("--remount-ro", "/dev"),
        *("--size", str(tmp_bytes_max), "--perms", "1777", "--tmpfs", "/tmp"),
        *(() if kit is None else ("--ro-bind", kit, KIT)),
        *("--bind" if kit is None else "--ro-bind", workspace, WORKSPACE),
        *("--remount-ro", "/"),
        *("--chdir", WORKSPACE),
        *("--json-status-fd", str(status_fd)),
        *(word for descriptor in filter_fds for word in ("--seccomp", str(descriptor))),
    )


def _namespaces(layout: Layout) -> tuple[str, ...]:
    return (
        *("--unshare-all", "--unshare-user"),
        *(("--disable-userns",) if layout.userns_off else ()),
        *("--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID)),
        *("--hostname", "sandbox"),
        *("--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL"),
    )
