"""The inbox as its clients meet it: full lanes, lost answers with and without a key, and one end for each command."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from migrations.outcome import BadInput
from setpoint.contracts.limits import LANE_CONTROL, LANE_WORK, UNENDED_MAX
from tests.integration.gateway.owner import own
from tests.integration.gateway.served import Served, problem
from tests.integration.protocol.world import World

TOOL: dict[str, Any] = {"type": "tool", "payload": {"name": "echo", "args": {"text": "hi"}}}
BODIES = {LANE_CONTROL: {"type": "halt"}, LANE_WORK: TOOL}


@pytest.mark.parametrize("lane", [LANE_CONTROL, LANE_WORK])
async def test_a_full_lane_answers_429_with_retry_after_and_leaves_the_other_lane_alone(
    api: httpx.AsyncClient, session: str, lane: int
) -> None:
    path = f"/v1/sessions/{session}/commands"
    for _ in range(UNENDED_MAX[lane]):
        assert (await api.post(path, json=BODIES[lane])).status_code == 202
    refused = await api.post(path, json=BODIES[lane])
    problem(refused, 429, "inbox-full")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await api.post(path, json=BODIES[1 - lane])).status_code == 202
    unended = (await api.get(f"/v1/sessions/{session}")).json()["unended"]
    assert unended[("control", "work")[lane]] == UNENDED_MAX[lane], "nothing is kept of what was refused"


@pytest.mark.parametrize("lane", [LANE_CONTROL, LANE_WORK])
async def test_a_full_lane_takes_as_many_again_as_have_ended_and_not_as_were_accepted(
    api: httpx.AsyncClient, w: World, served: Served, session: str, lane: int
) -> None:
    path = f"/v1/sessions/{session}/commands"
    queued = [(await api.post(path, json=BODIES[lane])).json() for _ in range(UNENDED_MAX[lane])]
    owner = await own(w, served.ours, session)
    for accepted in queued[:2]:
        await owner.accept(accepted["command_id"], accepted["inbox_seq"], lane)
    problem(await api.post(path, json=BODIES[lane]), 429, "inbox-full")
    await owner.end(queued[0]["command_id"], "succeeded", {}, lane)
    assert (await api.post(path, json=BODIES[lane])).status_code == 202
    problem(await api.post(path, json=BODIES[lane]), 429, "inbox-full")


async def test_a_crowd_at_a_nearly_full_lane_gets_exactly_what_is_left(api: httpx.AsyncClient, session: str) -> None:
    path, quota = f"/v1/sessions/{session}/commands", UNENDED_MAX[LANE_CONTROL]
    answers = await asyncio.gather(*(api.post(path, json={"type": "halt"}) for _ in range(quota + 10)))
    assert sorted(answer.status_code for answer in answers) == [202] * quota + [429] * 10
    assert len((await api.get(path, params={"limit": 500})).json()["items"]) == quota


async def test_a_client_that_repeats_under_its_key_makes_one_command_even_when_the_lane_is_full_by_then(
    api: httpx.AsyncClient, session: str
) -> None:
    path, key = f"/v1/sessions/{session}/commands", {"Idempotency-Key": uuid.uuid4().hex}
    first = await api.post(path, json={"type": "halt"}, headers=key)
    for _ in range(UNENDED_MAX[LANE_CONTROL] - 1):
        await api.post(path, json={"type": "halt"})
    problem(await api.post(path, json={"type": "halt"}), 429, "inbox-full")
    again = await api.post(path, json={"type": "halt"}, headers=key)
    assert (again.status_code, again.content) == (202, first.content)


async def test_a_client_that_repeats_without_a_key_makes_two_commands(api: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/commands"
    answers = [(await api.post(path, json=TOOL)).json() for _ in range(2)]
    assert len({answer["command_id"] for answer in answers}) == 2
    assert len((await api.get(path)).json()["items"]) == 2


async def test_a_key_of_a_refused_command_is_free_for_another_one(api: httpx.AsyncClient, session: str) -> None:
    path, key = f"/v1/sessions/{session}/commands", {"Idempotency-Key": uuid.uuid4().hex}
    for _ in range(UNENDED_MAX[LANE_CONTROL]):
        await api.post(path, json={"type": "halt"})
    problem(await api.post(path, json={"type": "halt"}, headers=key), 429, "inbox-full")
    assert (await api.post(path, json=TOOL, headers=key)).status_code == 202


async def test_a_command_has_one_end_and_a_second_one_is_refused_by_the_database(
    api: httpx.AsyncClient, w: World, served: Served, session: str
) -> None:
    path = f"/v1/sessions/{session}/commands"
    queued = (await api.post(path, json=TOOL)).json()
    other = (await api.post(path, json=TOOL)).json()
    owner = await own(w, served.ours, session)
    for accepted in (queued, other):
        await owner.accept(accepted["command_id"], accepted["inbox_seq"])
    seq = await owner.end(queued["command_id"], "succeeded", {})
    with pytest.raises(BadInput):
        await owner.end(queued["command_id"], "failed", {})
    state = (await api.get(f"{path}/{queued['command_id']}")).json()
    assert (state["status"], state["seq"]) == ("succeeded", seq)
    items = (await api.get(f"/v1/sessions/{session}/events", params={"after": seq})).json()["items"]
    assert items == [], "nothing of the refused write is in the log"
    assert (await api.get(f"/v1/sessions/{session}")).json()["unended"]["work"] == 1
