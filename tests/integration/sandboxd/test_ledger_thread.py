"""Calls of the ledger that come together share a transaction, and none of them notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandboxd.ledger import Ledger, StaleEpoch, UnknownRun
from sandboxd.ledger_thread import LedgerThread


async def test_calls_that_come_together_each_have_their_own_answer(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", "one")
    thread = LedgerThread(ledger)
    await thread.call(ledger.fence, "tenant", "s", (1, 5))
    answers = await asyncio.gather(
        *(thread.call(ledger.fence, "tenant", "s", (1, 5 if n % 3 else 1)) for n in range(100)),
        return_exceptions=True,
    )
    for n, answer in enumerate(answers):
        assert isinstance(answer, StaleEpoch) if n % 3 == 0 else answer == ({}, 0)
    thread.close()


async def test_a_call_that_is_refused_leaves_nothing_behind_and_does_not_touch_the_others(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", "one")

    def half() -> None:
        with ledger._transaction():  # what a method does that raises when it has written something
            ledger._do("add_session", session="half", tenant="t", cluster=1, epoch=1)
            raise UnknownRun("half")

    outcomes = ledger.together([lambda: ledger.fence("t", "a", (1, 1)), half, lambda: ledger.fence("t", "b", (1, 1))])
    ledger.close()
    assert outcomes[0] == outcomes[2] == ({}, 0)
    assert isinstance(outcomes[1], UnknownRun)
    again = Ledger(tmp_path / "ledger.db", "one")
    known = [again._do("session", session=name).fetchone() is not None for name in ("a", "half", "b")]
    again.close()
    assert known == [True, False, True]


async def test_a_call_whose_caller_was_cancelled_is_carried_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", "one")
    thread = LedgerThread(ledger)
    asked = [asyncio.create_task(thread.call(ledger.fence, "t", f"s{n}", (1, 1))) for n in range(5)]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    thread.close()
    again = Ledger(tmp_path / "ledger.db", "one")
    with pytest.raises(StaleEpoch):
        again.fence("t", "s4", (1, 0))
    again.close()
