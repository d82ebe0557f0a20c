"""Who is admitted, and who is not: join tokens, host tokens, proofs and bound host ids, on real links."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrations.admin import ensure_join_token
from setpoint import runtime
from setpoint.brokerlink import BrokerLink
from setpoint.contracts import grant, hint
from setpoint.identity import PROOF_HEADER, Identity
from tests.conftest import PgDatabase
from tests.integration.broker.conftest import NewHost
from tests.integration.broker.harness import (
    BOUND_S,
    JOIN_TOKEN,
    Broker,
    ask_to_join,
    code_of,
    join_of,
    linked,
    raw,
    running_broker,
)
from tests.integration.protocol.world import Host, World


async def admitted(broker: Broker, identity: Identity, **more: Any) -> hint.Welcome:
    answer = await ask_to_join(broker, identity, **({"join_token": JOIN_TOKEN} | more))
    assert isinstance(answer, hint.Welcome), answer
    identity.learn(host_token=answer.host_token, keys=answer.keys)
    return answer


async def test_a_join_token_admits_a_host_and_its_host_token_does_from_then_on(
    broker: Broker, new_host: NewHost
) -> None:
    host = new_host("c1", "cell")
    welcome = await admitted(broker, host)
    claims = grant.verify_host_token(welcome.host_token, welcome.keys, runtime.now_s())
    assert (claims.host, claims.role, claims.public_key) == ("c1", "cell", host.public_key)
    assert code_of(await ask_to_join(broker, host)) == "Welcome"


async def test_a_join_token_of_the_database_admits_too(broker: Broker, new_host: NewHost, database: PgDatabase) -> None:
    token = "database-" + "t" * 24
    assert code_of(await ask_to_join(broker, new_host("g1", "gateway"), join_token=token)) == "unauthenticated"
    await ensure_join_token(database.dsn("setpoint_migrate"), token)
    assert code_of(await ask_to_join(broker, new_host("g1", "gateway"), join_token=token)) == "Welcome"


async def test_without_a_valid_join_token_nobody_new_is_admitted(broker: Broker, new_host: NewHost) -> None:
    host = new_host("c1", "cell")
    for token in ("", "wrong", JOIN_TOKEN[:-1], JOIN_TOKEN + "x", "ü" * 20):
        assert code_of(await ask_to_join(broker, host, join_token=token)) == "unauthenticated", token


async def test_a_join_token_does_not_stand_in_for_the_proof_of_the_key(broker: Broker, new_host: NewHost) -> None:
    victim, thief = new_host("c1", "cell"), new_host("c1", "cell")
    for headers in ({}, {PROOF_HEADER: ""}, thief.headers("broker"), victim.headers("c2")):
        answer = await ask_to_join(broker, victim, headers, join_token=JOIN_TOKEN)
        assert code_of(answer) == "unauthenticated", headers


async def test_a_proof_of_an_earlier_incarnation_does_not_speak_for_a_later_one(
    broker: Broker, new_host: NewHost
) -> None:
    host = new_host("c1", "cell")
    answer = await ask_to_join(broker, host, join_token=JOIN_TOKEN, incarnation=runtime.new_id())
    assert code_of(answer) == "unauthenticated"


async def test_the_id_of_a_linked_host_cannot_be_taken(broker: Broker, new_host: NewHost) -> None:
    owner = new_host("g1", "gateway")
    async with raw(broker, owner.headers("broker")) as link:
        assert code_of(await link.ask(join_of(owner, join_token=JOIN_TOKEN))) == "Welcome"
        assert code_of(await ask_to_join(broker, new_host("g1", "gateway"), join_token=JOIN_TOKEN)) == "conflict"
        # The owner's link is untouched.
        assert code_of(await link.ask(hint.Place(7, "cell", "s"))) == "no-capacity"


async def test_the_id_of_a_registered_cell_host_cannot_be_taken(broker: Broker, new_host: NewHost, w: World) -> None:
    await w.register(Host("c1"), key=b"k" * 32)
    assert code_of(await ask_to_join(broker, new_host("c1", "cell"), join_token=JOIN_TOKEN)) == "conflict"
    assert code_of(await ask_to_join(broker, new_host("c1", "gateway"), join_token=JOIN_TOKEN)) == "conflict"


async def test_the_id_of_a_sandbox_host_cannot_be_taken(broker: Broker, new_host: NewHost) -> None:
    owner = new_host("b1", "sandbox")
    await admitted(broker, owner)
    assert code_of(await ask_to_join(broker, new_host("b1", "sandbox"), join_token=JOIN_TOKEN)) == "conflict"
    rows = (await broker.get("/v1/hosts")).json()["items"]
    assert [(row["host"], row["incarnation"]) for row in rows] == [("b1", owner.incarnation)]


async def test_a_key_keeps_its_role(broker: Broker, new_host: NewHost, tmp_path: Path) -> None:
    host = new_host("b1", "sandbox")
    await admitted(broker, host)
    assert code_of(await ask_to_join(broker, host, role="cell")) == "forbidden"
    assert code_of(await ask_to_join(broker, host, role="cell", join_token=JOIN_TOKEN)) == "conflict"


def broker_key(broker: Broker) -> tuple[Ed25519PrivateKey, str]:
    key = Ed25519PrivateKey.from_private_bytes((broker.state_dir / "broker.key").read_bytes())
    return key, next(line["kid"] for line in broker.lines if line["event"] == "broker listens")


async def test_host_tokens_that_do_not_hold(broker: Broker, new_host: NewHost) -> None:
    host, other = new_host("c1", "cell"), new_host("c1", "cell")
    key, kid = broker_key(broker)
    stranger = Ed25519PrivateKey.generate()
    now_s, week_s = runtime.now_s(), 7 * 24 * 3600

    def certify(**more: Any) -> str:
        fields: dict[str, Any] = {
            "key": key,
            "kid": kid,
            "host": "c1",
            "role": "cell",
            "host_key": host.public_key,
            "now_s": now_s,
        }
        return grant.sign_host_token(**(fields | more))

    refused = {
        "expired": (certify(now_s=now_s - week_s - 60), "unauthenticated"),
        "a kid that no broker published": (certify(key=stranger, kid="0" * 16), "unauthenticated"),
        "a known kid, but another key": (certify(key=stranger), "unauthenticated"),
        "longer than a week": (certify(life_s=week_s + 1), "unauthenticated"),
        "of another host": (certify(host="c2"), "forbidden"),
        "of another role": (certify(role="gateway"), "forbidden"),
        "of another key": (certify(host_key=other.public_key), "forbidden"),
        "no token at all": ("x.y.z", "unauthenticated"),
    }
    for name, (token, code) in refused.items():
        host.host_token = token
        assert code_of(await ask_to_join(broker, host)) == code, name
    host.host_token = certify()
    assert code_of(await ask_to_join(broker, host)) == "Welcome"


async def test_a_host_whose_token_no_broker_knows_falls_back_to_its_join_token(
    broker: Broker, new_host: NewHost
) -> None:
    host, stranger = new_host("c1", "cell"), Ed25519PrivateKey.generate()
    token = grant.sign_host_token(
        stranger, "0" * 16, host="c1", role="cell", host_key=host.public_key, now_s=runtime.now_s()
    )
    host.learn(host_token=token, keys={"0" * 16: grant.public_text(stranger)})
    async with linked(BrokerLink(host, [broker.address], join_token=JOIN_TOKEN, address="127.0.0.1:9")):
        await broker.said("host refused", host="c1")
        await broker.said("host admitted", host="c1")


MALFORMED: list[dict[str, Any]] = [
    {"host": "Not A Name"},
    {"host": ""},
    {"host": "x" * 200},
    {"incarnation": "1"},
    {"public_key": "AAAA"},
    {"public_key": "\u0000"},
    {"address": "nowhere"},
    {"address": "127.0.0.1:0"},
    {"address": "127.0.0.1:9/x?y"},
    {"address": "user@127.0.0.1:9"},
    {"ledger_id": ""},
    {"capacity": {"note": "x" * 5000}},
    {"capacity": {"note": "\u0000"}},
    {"join_token": "x" * 300},
]


async def test_malformed_joins_are_refused(broker: Broker, new_host: NewHost) -> None:
    host = new_host("b1", "sandbox")
    for wrong in MALFORMED:
        answer = await ask_to_join(broker, host, **({"join_token": JOIN_TOKEN} | wrong))
        assert code_of(answer) == "invalid", wrong
    assert (await broker.get("/v1/hosts")).json()["items"] == []


async def test_a_link_that_does_not_begin_with_a_join_is_closed(broker: Broker, new_host: NewHost) -> None:
    headers = new_host("c1", "cell").headers("broker")
    for frame in (hint.Beat(), hint.Place(1, "cell", "s"), hint.Welcome(1, "", {}), {"type": "nothing"}, [1], b""):
        async with raw(broker, headers) as link:
            assert await link.ask(frame) is None
    async with raw(broker, headers) as link:
        assert await link.next() is None  # it says nothing: closed after five seconds


async def test_a_link_speaks_for_one_host_only(broker: Broker, new_host: NewHost) -> None:
    first, second = new_host("g1", "gateway"), new_host("g2", "gateway")
    async with raw(broker, first.headers("broker")) as link:
        assert code_of(await link.ask(join_of(first, join_token=JOIN_TOKEN))) == "Welcome"
        assert await link.ask(join_of(second, join_token=JOIN_TOKEN)) is None


async def test_a_host_learns_the_key_of_a_broker_that_starts_later(
    broker: Broker, new_host: NewHost, database: PgDatabase, tmp_path: Path
) -> None:
    host = new_host("g1", "gateway")
    async with raw(broker, host.headers("broker")) as link:
        first = await link.ask(join_of(host, join_token=JOIN_TOKEN))
        async with running_broker(database.dsn("setpoint_broker"), tmp_path / "second") as second:
            pushed = await link.next()
            assert isinstance(pushed, hint.Welcome)
            assert pushed.id == 0
            assert set(pushed.keys) == {*first.keys, broker_key(second)[1]}
            # And what the first one certified holds for the second: the join token is needed once.
            host.learn(host_token=first.host_token, keys=pushed.keys)
            assert code_of(await ask_to_join(second, host)) == "Welcome"


async def test_a_broker_killed_after_it_wrote_the_row_is_joined_again(
    database: PgDatabase, new_host: NewHost, tmp_path: Path
) -> None:
    host, dsn = new_host("b1", "sandbox"), database.dsn("setpoint_broker")
    async with running_broker(dsn, tmp_path / "a", SETPOINT_FAILPOINTS="broker.join.after_register=kill") as first:
        assert await ask_to_join(first, host, join_token=JOIN_TOKEN) is None
        assert await first.end() == -9
    async with running_broker(dsn, tmp_path / "a") as second:
        link = BrokerLink(
            host, [second.address], join_token=JOIN_TOKEN, address="127.0.0.1:9", ledger_id=host.incarnation
        )
        async with linked(link), asyncio.timeout(BOUND_S):
            await link.admitted.wait()
