"""What an operator wants of hosts, and a sandbox host declared dead: the model and the real functions alike."""

from __future__ import annotations

import pytest

from tests.integration.conformance.backend import Refusal
from tests.integration.conformance.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_order_is_noted_once_and_outlives_the_incarnation(b: Bench) -> None:
    host = await b.host("a")
    assert await b.call("host_order", "a", "cordon", "disk") == "cell"
    assert await b.call("host_order", "a", "cordon", "again") == "cell"
    audit = (await b.db.dump())["audit_log"]
    said = {"host": "a", "role": "cell", "ordered": "cordon", "before": "serve", "reason": "disk"}
    assert audit == [("host.ordered", said)]
    await b.dead(host, refused=True)
    await b.host("a")
    assert await b.call("host_told", "a") == ("cordon", [])
    assert await b.call("host_order", "nobody", "cordon", "why") is None
    assert isinstance(await b.call("host_order", "a", "sleep", "why"), Refusal)


@pytest.mark.parametrize("word", ["cordon", "drain"])
async def test_a_host_that_is_not_wanted_to_serve_claims_nothing_and_is_no_candidate(b: Bench, word: str) -> None:
    for name in ("a", "b"):
        await b.host(name)
    key = await b.create()
    await b.call("host_order", "a", word, "why")
    assert await b.claim("a") == []
    assert [row[0] for row in await b.call("cell_candidates")] == ["b"]
    assert await b.call("host_told", "b") == ("serve", [])
    assert await b.call("host_told", "a") == (word, ["b"])
    assert await b.claim("b") == [key[1]]
    await b.call("host_order", "a", "serve", "why")
    assert await b.call("host_told", "b") == ("serve", ["a"])


async def test_a_dead_sandbox_host_comes_back_only_as_another_incarnation(b: Bench) -> None:
    one, two, ledger = b.new_id(), b.new_id(), b.new_id()
    await b.call("sandbox_register", "sb", one, ledger, "addr", {})
    await b.call("host_order", "sb", "drain", "why")
    assert await b.call("host_declare_dead", "sb", two, "burnt") is False
    assert await b.call("host_declare_dead", "sb", one, "burnt") is True
    assert await b.call("host_declare_dead", "sb", one, "burnt") is False
    assert await b.call("sandbox_seen", "sb", one, {}) is False
    assert await b.call("sandbox_gone", "sb", one) is False
    assert await b.call("sandbox_register", "sb", one, ledger, "addr", {}) is False
    assert await b.call("sandboxes") == [("sb", one, ledger, "addr", "dead", {}, 0, "drain")]
    assert await b.call("sandbox_register", "sb", two, ledger, "addr", {}) is True
    assert await b.call("sandboxes") == [("sb", two, ledger, "addr", "ready", {}, 0, "drain")]
