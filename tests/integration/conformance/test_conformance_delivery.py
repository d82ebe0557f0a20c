"""What is noted of a delivery, and a failed session that is asked for again, in the model as in the real database."""

from __future__ import annotations

import pytest

from tests.integration.conformance.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_note_is_the_owners_and_outlives_it(b: Bench) -> None:
    owned = await b.owned()
    assert await b.call("delivery_left", *owned.key, owned.head) == (None, 0, True)
    assert await b.call("delivery_note", *owned.key, owned.inc, owned.epoch, 77, 1) == "ok"
    await b.pass_s(61)
    other = await b.own(owned.key, await b.host())
    assert await b.call("delivery_left", *other.key, other.head) == (77, 1, False)
    assert await b.call("delivery_note", *owned.key, owned.inc, owned.epoch, 78, 2) == "fenced"
    assert await b.call("delivery_left", *other.key, other.head) == (77, 1, False)


async def test_a_commit_takes_the_note_away_when_its_item_says_so(b: Bench) -> None:
    owned = await b.owned()
    await b.call("delivery_note", *owned.key, owned.inc, owned.epoch, 77, 2)
    await b.write(owned)
    assert (await b.call("delivery_left", *owned.key, owned.head))[:2] == (77, 2)
    await b.write(owned, delivering=None)
    assert (await b.call("delivery_left", *owned.key, owned.head))[0] is None


@pytest.mark.parametrize("mode", ["drain", "move", "hibernate"])
async def test_who_gave_a_session_away_did_not_die_of_it(b: Bench, mode: str) -> None:
    owned = await b.owned()
    await b.write(owned)
    assert (await b.release(owned, mode, None, None, None))[0] == "ok"
    other = await b.own(owned.key, owned.host)
    assert await b.call("delivery_left", *other.key, other.head) == (None, 0, True)
    assert await b.call("delivery_note", *owned.key, owned.inc, owned.epoch, 78, 2) == "fenced"


async def test_nothing_is_known_of_a_session_that_there_is_not(b: Bench) -> None:
    nobody = (b.new_id(), b.new_id())
    assert await b.call("delivery_left", *nobody, 2) is None
    assert await b.call("delivery_note", *nobody, 1, 1, 7, 0) == "fenced"


async def test_to_recover_is_a_control_command_that_is_audited_once(b: Bench) -> None:
    owned, command = await b.owned(), b.new_id()
    asked = (*owned.key, command, {"reason": "mended"}, "key", b"same", 20, "key 1")
    assert (await b.call("recover_session", *asked))[:2] == ("ok", command)
    assert (await b.call("recover_session", *asked))[:2] == ("replay", command)
    assert (await b.call("recover_session", *owned.key, b.new_id(), {}, None, None, 1, "key 1"))[0] == "full"
    assert await b.call("inbox", *owned.key, 0, 0, 10) == [(0, 1, command, "recover", {"reason": "mended"})]
    about = {"session_id": owned.key[1], "command_id": command, "by": "key 1", "reason": "mended"}
    audited = [row for row in (await b.db.dump())["audit_log"] if row[0] == "session.recover"]
    assert len(audited) == 1 and all(str(value) in str(audited[0]) for value in about.values())
