"""Workspaces: brought to a generation's files, whatever a tenant has planted in them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from setpoint.contracts import codec, run
from tests.integration.sandboxd.harness import Sandboxd, cell, tool


async def test_files_overwrite_leave_when_unchanged_and_are_otherwise_kept(host: Sandboxd) -> None:
    async with cell(host) as peer:
        first = host.manifest({"a.txt": b"1", "dir/b.txt": b"2", "dir/c.txt": b"3", "gone/d.txt": b"4"})
        assert isinstance(await peer.materialize(first), run.Done)
        await peer.says("echo changed >dir/c.txt; echo made >made.txt; echo spoiled >a.txt")
        second = host.manifest({"a.txt": b"new", "e.txt": b"5"})
        assert isinstance(await peer.materialize(second, generation=2), run.Done)
        listed = await peer.says("find . -type f -o -type d -name '?*' | sort | grep -v '^.$'; cat a.txt")
        assert listed.split() == ["./a.txt", "./dir", "./dir/c.txt", "./e.txt", "./made.txt", "new"]
        assert isinstance(await peer.materialize(second, generation=2), run.Done)


async def test_a_step_may_change_and_run_what_was_materialized(host: Sandboxd) -> None:
    async with cell(host) as peer:
        script = b"#!/bin/sh\necho ran\n"
        files = [{"path": "bin/go", "mode": 0o755, "sha256": host.put(script)}]
        await peer.materialize(host.put(codec.canonical_json({"files": files})))
        assert await peer.says("bin/go; echo more >>bin/go; rm bin/go; rmdir bin; ls") == "ran\n"


@pytest.mark.parametrize("planted", ["ln -s {out} dir", "ln -s {out} dir; ln -s {out}/b.txt b.txt", "mkfifo b.txt"])
async def test_planted_links_and_pipes_are_replaced_not_followed(host: Sandboxd, planted: str) -> None:
    outside = host.root / "outside"
    outside.mkdir(exist_ok=True)
    outside.chmod(0o777)
    (outside / "b.txt").write_text("untouched")
    async with cell(host) as peer:
        await peer.says(planted.format(out=outside))
        assert isinstance(await peer.materialize(host.manifest({"dir/b.txt": b"new", "b.txt": b"new"})), run.Done)
        assert (outside / "b.txt").read_text() == "untouched"
        assert sorted(path.name for path in outside.iterdir()) == ["b.txt"]
        assert await peer.says("cat dir/b.txt b.txt; test ! -L dir -a ! -L b.txt && echo plain") == "newnewplain\n"


async def test_a_planted_link_is_not_followed_when_a_file_leaves_the_project(host: Sandboxd) -> None:
    outside = host.root / "elsewhere"
    outside.mkdir()
    (outside / "b.txt").write_text("2")
    async with cell(host) as peer:
        await peer.materialize(host.manifest({"dir/b.txt": b"2", "x": b""}))
        await peer.says(f"rm -r dir; ln -s {outside} dir")
        assert isinstance(await peer.materialize(host.manifest({"x": b""})), run.Done)
        assert (outside / "b.txt").read_text() == "2"


async def test_a_hard_link_within_the_workspace_is_not_written_through(host: Sandboxd) -> None:
    async with cell(host) as peer:
        await peer.says("echo mine >mine; ln mine a.txt")
        await peer.materialize(host.manifest({"a.txt": b"project\n"}))
        assert await peer.says("cat mine a.txt") == "mine\nproject\n"


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a/../../x", "a//b", "./a", "a/./b", "", "a\0b", "a\\b", "x" * 600, "a/"]
)
async def test_a_path_that_leaves_the_workspace_is_refused(host: Sandboxd, path: str) -> None:
    async with cell(host) as peer:
        answer = await peer.materialize(host.manifest({path: b"x", "fine": b"y"}))
        assert isinstance(answer, run.Refused) and answer.code == "invalid" and not answer.retry
        assert await peer.says("ls -A") == ""


@pytest.mark.parametrize(
    "document",
    [
        b"{}]",
        b"[]",
        b'{"files":[{"path":"a"}]}',
        b'{"files":[{"path":"a","mode":420,"sha256":"../../x"}]}',
        b'{"files":[{"path":"a","mode":420,"sha256":"%s"},{"path":"a/b","mode":420,"sha256":"%s"}]}'
        % (b"0" * 64, b"0" * 64),
    ],
)
async def test_a_manifest_that_is_none_is_refused(host: Sandboxd, document: bytes) -> None:
    async with cell(host) as peer:
        answer: Any = await peer.materialize(host.put(document))
        assert answer.code == "invalid", answer


async def test_missing_and_false_objects_are_refused(host: Sandboxd) -> None:
    async with cell(host) as peer:
        assert (await peer.materialize("0" * 64)).code == "missing-object"
        gone = codec.canonical_json({"files": [{"path": "a", "mode": 0o644, "sha256": "1" * 64}]})
        assert (await peer.materialize(host.put(gone))).code == "missing-object"
        true = host.put(b"true content")
        path = next(Path(host.root, "objects").rglob(true))
        path.write_bytes(b"false content")
        listed = codec.canonical_json({"files": [{"path": "a", "mode": 0o644, "sha256": true}]})
        assert (await peer.materialize(host.put(listed))).code == "invalid"
        assert await peer.says("ls -A") == ""


async def test_another_tenants_blobs_cannot_be_materialized(host: Sandboxd) -> None:
    async with cell(host) as peer:
        theirs = host.manifest({"a": b"x"}, tenant="00000000-0000-4000-8000-0000000000ff")
        assert (await peer.materialize(theirs)).code == "missing-object"


async def test_a_workspace_is_not_touched_while_a_run_uses_it(host: Sandboxd) -> None:
    async with cell(host) as peer:
        spec = peer.spec(tool("sh", "-c", "touch up; while [ ! -e go ]; do sleep 0.02; done"))
        await peer.start(spec)
        await peer.exists("up")
        files = host.manifest({"a": b"x"})
        busy = await peer.materialize(files)
        assert busy.code == "no-capacity" and busy.retry
        await peer.says("touch go")
        await peer.done(spec.run_id)
        assert isinstance(await peer.materialize(files), run.Done)


async def test_a_directory_that_a_sync_made_where_a_file_belongs_is_not_removed(host: Sandboxd) -> None:
    async with cell(host) as peer:
        await peer.says("mkdir a; touch a/mine")
        answer = await peer.materialize(host.manifest({"a": b"x"}))
        assert answer.code == "invalid" and "directory" in answer.detail
        assert await peer.says("ls a") == "mine\n"


async def test_a_run_without_a_workspace_is_refused(host: Sandboxd) -> None:
    async with cell(host, workspace=False) as peer:
        answer = await peer.start(peer.spec(tool("true")))
        assert answer.code == "unknown-workspace"
        assert (await peer.fence()).runs == {}


async def test_workspaces_of_one_session_are_apart(host: Sandboxd) -> None:
    async with cell(host) as peer:
        await peer.says("touch first")
        await peer.materialize(workspace_no=2)
        second = peer.spec(tool("ls", "-A"), workspace_no=2)
        await peer.start(second)
        await peer.done(second.run_id)
        assert peer.results(second.run_id)[0].stdout.tail == ""


async def test_what_is_written_belongs_to_the_sessions_account(host: Sandboxd) -> None:
    async with cell(host) as peer:
        await peer.materialize(host.manifest({"d/a": b"x"}))
        assert peer.place is not None
        owners = {path.stat().st_uid for path in (peer.place, peer.place / "d", peer.place / "d" / "a")}
        assert len(owners) == 1 and (os.geteuid() != 0 or owners.pop() >= 600_000)


async def test_large_files_in_the_place_of_small_ones_are_not_read_without_end(host: Sandboxd) -> None:
    names = [f"f{n}" for n in range(100)]
    async with cell(host) as peer:
        await peer.materialize(host.manifest(dict.fromkeys(names, b"small") | {"z": b"unchanged"}))
        await peer.says(f"truncate -s 64M {' '.join(names)}")
        async with asyncio.timeout(5):  # all of it would be 6 GiB, three times
            assert isinstance(await peer.materialize(host.manifest(dict.fromkeys(names, b"new"))), run.Done)
            await peer.says(f"truncate -s 64M {' '.join(names)}")
            assert isinstance(await peer.materialize(host.manifest({"x": b""})), run.Done)
        assert await peer.says("ls | wc -l; test -e z || echo gone") == "101\ngone\n"
