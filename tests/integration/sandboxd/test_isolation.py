"""What a step sees and cannot see: looked at from inside, and from outside where that is the better witness."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from setpoint.contracts import run
from tests.integration.sandboxd.harness import Sandboxd, cell, pids_of, tool

SOCKETS = """
import ctypes, errno, os, socket
for name, family in dict(UNIX=1, INET=2, INET6=10, NETLINK=16, VSOCK=40, ALG=38, PACKET=17).items():
    try:
        socket.socket(family, socket.SOCK_DGRAM if family == 16 else socket.SOCK_STREAM).close()
        print(name, "open")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
numbers = {"x86_64": dict(add_key=248, bpf=321), "aarch64": dict(add_key=217, bpf=280)}[os.uname().machine]
for name, number in dict(numbers, io_uring_setup=425).items():
    assert ctypes.CDLL(None, use_errno=True).syscall(number, 0, 0, 0, 0, 0) == -1
    print(name, errno.errorcode[ctypes.get_errno()])
"""


async def test_a_step_has_namespaces_of_its_own(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; exec sleep 41.125"))
        await peer.start(spec)
        await peer.exists("up")
        (inside,) = pids_of("sleep 41.125")
        for kind in ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup"):
            assert Path(f"/proc/{inside}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink(), kind
        status = Path(f"/proc/{inside}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        await peer.cancel(spec.run_id)
        await peer.done(spec.run_id)


async def test_there_is_no_network(host: Sandboxd) -> None:
    async with cell(host) as peer:
        assert (await peer.says("sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '")).split() == ["lo"]
        connect = f"exec 3<>/dev/tcp/127.0.0.1/{host.port}"
        refused = await peer.once("bash", "-c", connect)
        assert refused.exit_code == 1 and "refused" in refused.stderr.tail


async def test_no_socket_leaves_the_namespace_by_another_family(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("/usr/bin/env", "python3", "-c", SOCKETS))
        await peer.start(spec)
        enforced = (await peer.done(spec.run_id)).enforced
        result = peer.results(spec.run_id)[0]
        if result.exit_code == 127:
            pytest.skip("this host has no python3 in /usr")
        assert result.ok, result.stderr.tail
        assert enforced["seccomp"] == "partial"
        words = dict(line.split() for line in result.stdout.tail.splitlines())
        assert words == {
            "UNIX": "open",
            "INET": "open",
            "INET6": "open",
            "NETLINK": "open",
            "VSOCK": "EAFNOSUPPORT",  # it would reach the hypervisor, whatever the network namespace
            "ALG": "EAFNOSUPPORT",
            "PACKET": "EAFNOSUPPORT",
            "io_uring_setup": "ENOSYS",
            "add_key": "EPERM",
            "bpf": "EPERM",
        }


async def test_only_workspace_and_tmp_can_be_written(host: Sandboxd) -> None:
    async with cell(host) as peer:
        script = (
            "for d in / /usr /etc /dev /proc /bin /workspace /tmp /dev/shm; do (: >$d/x) 2>/dev/null && echo $d; done"
        )
        assert (await peer.says(f"{script}; true")).split() == ["/workspace", "/tmp", "/dev/shm"]


async def test_tmp_is_private_to_the_step_and_bounded(host: Sandboxd) -> None:
    async with cell(host) as peer:
        await peer.says("echo secret >/tmp/x")
        assert await peer.says("ls -A /tmp") == ""
        full = await peer.once("sh", "-c", "head -c 300M /dev/zero >/tmp/big")
        assert full.exit_code == 1 and "No space" in full.stderr.tail


async def test_the_environment_is_exactly_what_it_should_be(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("env", env=(("A", "1"), ("TZ", "Europe/Rome"))))
        await peer.start(spec)
        await peer.done(spec.run_id)
        lines = peer.results(spec.run_id)[0].stdout.tail.splitlines()
        assert sorted(lines) == [
            "A=1",
            "HOME=/workspace",
            "LANG=C.UTF-8",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PWD=/workspace",
            "TMPDIR=/tmp",
            "TZ=Europe/Rome",
        ]
        seen = await peer.says("cat /proc/*/environ | tr '\\0' '\\n'; cat /proc/*/cmdline | tr '\\0' '\\n'")
        assert "SECRET_OF_THE_DAEMON" not in seen and "must not be seen" not in seen
        assert str(host.root) not in seen


async def test_descriptors_of_the_daemon_do_not_leak(host: Sandboxd) -> None:
    async with cell(host) as peer:
        assert (await peer.says("ls /proc/$$/fd")).split() == ["0", "1", "2"]
        assert await peer.says("readlink /proc/$$/fd/0") == "/dev/null\n"


async def test_host_files_and_processes_cannot_be_seen(host: Sandboxd) -> None:
    async with cell(host) as peer:
        assert (await peer.says("ls -A /root /home /var /work /sys /boot 2>/dev/null; true")) == ""
        assert await peer.says(f"ls {host.root} 2>/dev/null; true") == ""
        assert int(await peer.says("ls -d /proc/[0-9]* | wc -l")) <= 6
        assert "sandbox" in await peer.says("cat /etc/passwd")
        assert "root" not in await peer.says("cat /etc/passwd")


async def test_another_session_cannot_be_seen(host: Sandboxd) -> None:
    async with cell(host) as one, cell(host, "cell-2") as two:
        await one.says("echo mine >mine; chmod 777 mine .")
        assert await two.says("ls -A /workspace") == ""
        listed = await two.says(f"find / -name mine 2>/dev/null; ls {host.root}/sandboxd/ws 2>/dev/null; true")
        assert listed == ""


async def test_sessions_have_accounts_of_their_own(host: Sandboxd) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give sessions accounts of their own")
    async with cell(host) as one, cell(host, "cell-2") as two:
        await one.says("touch one")
        await two.says("touch two")
        found = {p.name: p.stat().st_uid for ws in host.workspaces() for p in ws.iterdir() if p.name in ("one", "two")}
        assert len(set(found.values())) == 2 and min(found.values()) >= 600_000


async def test_further_user_namespaces_are_off_and_the_result_says_what_held(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("unshare", "-U", "true"))
        await peer.start(spec)
        ended = await peer.done(spec.run_id)
        assert not peer.results(spec.run_id)[0].ok
        assert ended.enforced["isolation"] == "bwrap" and ended.enforced["userns"] == "off"
        step = next(frame for frame in peer.pushed if isinstance(frame, run.StepDone))
        assert step.enforced == ended.enforced


async def test_limits_hold_inside(host: Sandboxd) -> None:
    async with cell(host) as peer:
        assert await peer.says("ulimit -c; ulimit -n") == "0\n4096\n"
        assert int(await peer.says("ulimit -f")) * 512 == 16 * 1024**3
