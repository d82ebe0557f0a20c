"""All workspaces of this host: which directory and account belong to a session, and their materialization.

The host calls this with the session's lock held. The ledger knows the directories; this makes and fills them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from sandboxd.jail.driver import Place
from sandboxd.ledger import UnknownWorkspace, Workspace
from sandboxd.ledger_thread import LedgerThread
from sandboxd.workspace import File, ManifestRefused, WorkspaceDir, fetch, parse_manifest
from setpoint import runtime
from setpoint.contracts import limits
from setpoint.objects import ObjectStore, blob_key


class Workspaces:
    """The directory ``root`` of all workspaces. ``uids`` are the accounts of sandboxes; None: they run as this one."""

    def __init__(self, root: Path, ledger: LedgerThread, store: ObjectStore, uids: range | None) -> None:
        root.mkdir(exist_ok=True)
        root.chmod(0o711)  # whatever the umask: sandboxes pass through, and nobody can list it
        self._root, self._ledger, self._store, self._uids = root, ledger, store, uids

    async def place(self, session: str, workspace_no: int) -> Place:
        """Return where a run of this session works. Raises UnknownWorkspace."""
        known = await self._ledger.call(self._ledger.ledger.workspace, session, workspace_no)
        uid = await self._uid(session)
        return Place(WorkspaceDir(self._root, known.place, uid).path, uid)

    async def materialize(self, tenant: str, session: str, workspace_no: int, generation: int, files: str) -> None:
        """Bring a workspace, made when it is new, to a generation's files; without ``files`` it only comes to exist.

        Raises ObjectMissing, ManifestRefused, OSError, UidsUsedUp; then the files of the generation before may be
        partly replaced, each of them whole, and the same call repairs it.
        """
        wanted, blobs, content = await asyncio.to_thread(self._fetch_all, tenant, files)
        uid = await self._uid(session)
        known = await self._known_or_new(session, workspace_no)
        directory = WorkspaceDir(self._root, known.place, uid)
        await asyncio.to_thread(directory.make)
        if files:
            before = await asyncio.to_thread(parse_manifest, known.manifest) if known.manifest else {}
            await asyncio.to_thread(directory.materialize, wanted, before, blobs)
            await self._ledger.call(self._ledger.ledger.note_manifest, session, workspace_no, generation, content)

    async def _known_or_new(self, session: str, workspace_no: int) -> Workspace:
        ledger = self._ledger.ledger
        try:
            return await self._ledger.call(ledger.workspace, session, workspace_no)
        except UnknownWorkspace:
            # A name that says nothing: the path of a workspace is visible from inside its sandbox.
            return await self._ledger.call(ledger.add_workspace, session, workspace_no, runtime.new_id())

    async def _uid(self, session: str) -> int | None:
        return None if self._uids is None else await self._ledger.call(self._ledger.ledger.uid_of, session, self._uids)

    def _fetch_all(self, tenant: str, files: str) -> tuple[Mapping[str, File], Mapping[str, bytes], bytes]:
        """Fetch a manifest and its blobs before anything is touched. Blocks on the disk."""
        if not files:
            return {}, {}, b""
        content = fetch(self._store, tenant, files)
        wanted = parse_manifest(content)
        sizes = [self._store.size(blob_key(tenant, file.sha256)) or 0 for file in wanted.values()]
        if sum(sizes) > limits.PROJECT_BYTES_MAX:
            raise ManifestRefused(f"{sum(sizes)} bytes; {limits.PROJECT_BYTES_MAX} are allowed")
        return wanted, {file.sha256: fetch(self._store, tenant, file.sha256) for file in wanted.values()}, content
