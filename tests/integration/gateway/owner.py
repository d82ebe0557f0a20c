"""The stand-in for a session's owner: it writes to the log what a cell would have decided, as celld's role."""

from __future__ import annotations

from typing import Any

from tests.integration.gateway.served import Tenant
from tests.integration.protocol.world import Host, Owned, Session, World, new_id


class Owner:
    """The owner of one session."""

    def __init__(self, w: World, owned: Owned, host: str) -> None:
        self._w, self._owned, self.host = w, owned, host

    async def write(self, *events: dict[str, Any], **more: Any) -> int:
        """Append events (``type``, ``data``, ...) and return the new head."""
        item = self._owned.item(**more)
        item["events"] = [{"at": 1_795_256_754_123_456} | event for event in events]
        (row,) = await self._w.append(item)
        assert row["status"] == "ok", dict(row)
        self._owned.head = row["seq"]
        return int(row["seq"])

    async def numbers(self, count: int, first: int = 0) -> int:
        """Append ``count`` events that count from ``first``."""
        return await self.write(*({"type": "asset.ready", "data": {"n": first + n}} for n in range(count)))

    async def accept(self, command_id: str, inbox_seq: int, lane: int = 1) -> int:
        """Accept a command: its inbox row goes, the log says so."""
        data = {"lane": lane, "inbox_seq": inbox_seq, "type": "tool"}
        event = {"type": "command.accepted", "command_id": command_id, "data": data}
        return await self.write(event, ack=[[lane, inbox_seq]])

    async def end(self, command_id: str, status: str, result: dict[str, Any], lane: int = 1) -> int:
        """End a command."""
        event = {"type": f"command.{status}", "command_id": command_id, "data": {"result": result}}
        ended = {"command_id": command_id, "lane": lane, "status": status, "result": result}
        return await self.write(event, results=[ended])

    async def close(self) -> None:
        """Close the session for good."""
        row = await self._w.release(self._owned, "close")
        assert row["status"] == "ok", dict(row)


async def own(w: World, tenant: Tenant, session: str, as_host: tuple[str, str] | None = None) -> Owner:
    """Become the owner of a session: as a host of its own, or as one that is registered, by (id, incarnation)."""
    host = Host(*as_host) if as_host else await w.host(f"h-{new_id()[:13]}")
    return Owner(w, await w.own(Session(tenant.id, session, ""), host), host.id)
