"""What the model leaves out is said by name: a function that a daemon may call is modelled, or stands here with why."""

from __future__ import annotations

from typing import Final

from tests.conftest import PgDatabase
from tests.integration.conformance.signatures import SIGNATURES
from tests.integration.protocol.world import world

LEFT_OUT: Final = {
    "authenticate": "API keys: the edge alone asks",
    "host_left": "for the operator: what a drained host still has",
    "hosts": "for the operator: what cell_candidates and sandboxes say, in one list",
    "join_token_check": "admission of hosts happens before anything of a session",
    "key_publish": "signing keys: signatures are not simulated",
    "keys": "signing keys: signatures are not simulated",
    "sweep_cells": "when a host was last seen is not modelled; tests/integration/protocol/test_janitor.py has it",
    "sweep_sandboxes": "as sweep_cells",
    "sweep_tokens": "admission of hosts happens before anything of a session",
    "schema_version": "one version at a time",
    "tenant_log": "what the edge shows of a log; its owner reads the same by log_page",
}


async def test_every_function_a_daemon_may_call_is_modelled_or_named_here(clocked: PgDatabase) -> None:
    sql = """SELECT DISTINCT proname FROM pg_proc p, unnest(ARRAY['gateway', 'celld', 'broker']) r
             WHERE pronamespace = 'setpoint'::regnamespace AND proname <> 'clock_timestamp'
               AND has_function_privilege('setpoint_' || r, p.oid, 'EXECUTE')"""
    async with world(clocked) as w:
        granted = {row["proname"] for row in await w.all_seeing.fetch(sql)}
    assert granted - set(SIGNATURES) == set(LEFT_OUT), "model it in tests/sim/postgres, or say here why not"
    assert set(SIGNATURES) - granted == {"restored"}, "the operator's alone"
