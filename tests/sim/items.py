"""What a decision becomes in the database, without its encoding: what ``celld.plane.item.build`` makes, as values."""

from __future__ import annotations

from celld.plane.key import Epoch, SessionKey
from setpoint.contracts.cell import Decision
from setpoint.contracts.event import COMMAND_ENDS
from tests.sim.postgres.item import Item, ItemAsset, ItemEvent, ItemGeneration, ItemLock, ItemResult, ItemSandbox


def of_decision(key: SessionKey, epoch: Epoch, head_seq: int, batch: str, at: int, decision: Decision) -> Item:
    """Return the item of a decision with events; one life in many checks it against the real encoding."""
    item = Item(
        key.tenant,
        key.session,
        *epoch,
        head_seq,
        batch,
        [
            ItemEvent(new.type, at, new.data, new.v, new.command_id, new.asset, new.execution_id)
            for new in decision.events
        ],
    )
    item.ack, item.results = [], []
    item.assets = [ItemAsset(doc.name, doc.doc) for doc in decision.assets]
    item.take = [ItemLock(change.key, change.execution_id, change.ttl_s) for change in decision.takes]
    item.give = [ItemLock(change.key, change.execution_id) for change in decision.gives]
    for new in decision.events:
        data = new.data
        if new.type == "command.accepted":
            item.ack.append((data["lane"], data["inbox_seq"]))
        elif new.type in COMMAND_ENDS:
            status = new.type.removeprefix("command.")
            item.results.append(ItemResult(new.command_id, data["lane"], status, data.get("result")))
        elif new.type == "workspace.materialized":
            item.sandbox = ItemSandbox(data["sandbox_host"], data["ledger_id"], data["workspace_no"])
        elif new.type == "resources.applied":
            item.generation = ItemGeneration(data["generation"], data["resources"], data["files"])
    return item
