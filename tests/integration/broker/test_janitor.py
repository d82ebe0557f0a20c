"""A broker cleans up by itself: batches, several brokers, and a database that goes away."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from prometheus_client import REGISTRY

from broker.janitor import CALLS_MAX, ROWS, Janitor
from broker.store import Store
from migrations.door import connect
from tests.conftest import PgDatabase
from tests.integration.broker.harness import BOUND_S, Broker, running_broker
from tests.integration.protocol.world import World, new_id

COUNT = "SELECT count(*) FROM setpoint.idempotency_keys"


async def end_keys(w: World, count: int) -> None:
    """Leave keys behind that have ended."""
    await w.all_seeing.execute(
        """INSERT INTO setpoint.idempotency_keys (tenant_id, key, kind, fingerprint, subject_id, expires_at)
           SELECT $1, 'k' || n, 'command', 'x', $1, now() - interval '1 s' FROM generate_series(1, $2) n""",
        *(new_id(), count),
    )


def failures() -> float:
    """Return how often locks could not be swept, in this process."""
    return REGISTRY.get_sample_value("setpoint_broker_sweeps_failed_total", {"kind": "locks"}) or 0.0


async def swept(broker: Broker, kind: str) -> int:
    text = (await broker.get("/metrics", None)).text
    found = re.search(rf'^setpoint_broker_swept_rows_total{{kind="{kind}"}} (\S+)$', text, re.MULTILINE)
    return 0 if found is None else int(float(found[1]))


async def test_a_broker_sweeps_when_it_starts_and_counts_what_went(
    database: PgDatabase, w: World, tmp_path: Path
) -> None:
    await end_keys(w, 2 * ROWS + 1)
    session = await w.create()
    await w.enqueue(session, key="young")
    async with running_broker(database.dsn("setpoint_broker"), tmp_path / "broker") as broker:
        async with asyncio.timeout(BOUND_S):
            while await swept(broker, "keys") < 2 * ROWS + 1:
                pass
    assert await w.all_seeing.fetchval(COUNT) == 1


async def test_two_brokers_at_once_share_the_rows(database: PgDatabase, w: World, tmp_path: Path) -> None:
    await end_keys(w, 4 * ROWS)
    dsn = database.dsn("setpoint_broker")
    async with running_broker(dsn, tmp_path / "a") as one, running_broker(dsn, tmp_path / "b") as two:
        async with asyncio.timeout(BOUND_S):
            while await swept(one, "keys") + await swept(two, "keys") < 4 * ROWS:
                pass
    assert await w.all_seeing.fetchval(COUNT) == 0


async def test_a_round_is_bounded_and_the_next_one_goes_on(database: PgDatabase, w: World) -> None:
    await end_keys(w, ROWS * CALLS_MAX + 10)
    store = Store(database.dsn("setpoint_broker"))
    await store.keep_open()
    try:
        await Janitor(store).round()
        assert await w.all_seeing.fetchval(COUNT) == 10
        await Janitor(store).round()
        assert await w.all_seeing.fetchval(COUNT) == 0
    finally:
        await store.close()


async def test_what_cannot_be_swept_in_time_does_not_keep_the_rest_from_it(database: PgDatabase, w: World) -> None:
    await end_keys(w, 1)
    await w.all_seeing.execute("SELECT setpoint.join_token_create($1, now() - interval '1 s')", b"t" * 32)
    store = Store(database.dsn("setpoint_broker"))
    await store.keep_open()
    failed = failures()
    try:
        async with connect(database.dsn("setpoint_migrate")) as third, third.transaction():
            await third.execute("LOCK TABLE setpoint.asset_locks")
            await Janitor(store).round()
    finally:
        await store.close()
    assert failures() == failed + 1
    assert await w.all_seeing.fetchval(COUNT) == 0
    assert await w.all_seeing.fetchval("SELECT count(*) FROM setpoint.join_tokens") == 0, "which comes after the locks"
