"""The ledger against a model: floors only rise, a run starts once, and what was written is there after a reopening."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sandboxd.ledger import Ledger, StaleEpoch, UidsUsedUp, UnknownRun, UnknownWorkspace, WrongTenant
from setpoint.contracts.run import RunSpec, Step, StepResult

SESSIONS = ("s1", "s2")
EPOCHS = st.tuples(st.integers(1, 2), st.integers(1, 4))
STEPS = (Step(0, "tool", "t", ("true",), 1.0),)


class LedgerMachine(RuleBasedStateMachine):
    """Requests in any order, with reopenings in between. Every session has workspace 1 from its first fence on."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.ledger = Ledger(self.directory / "ledger.db", "id-1")
        self.floors: dict[str, tuple[int, int]] = {}
        self.states: dict[str, dict[str, str]] = {session: {} for session in SESSIONS}
        self.seqs = dict.fromkeys(SESSIONS, 0)
        self.next_run = 0

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.directory)

    @rule(session=st.sampled_from(SESSIONS), epoch=EPOCHS)
    def fence(self, session: str, epoch: tuple[int, int]) -> None:
        if epoch < self.floors.get(session, (0, 0)):
            with pytest.raises(StaleEpoch):
                self.ledger.fence("t", session, epoch)
            return
        states, seq = self.ledger.fence("t", session, epoch)
        assert states == self.states[session] and seq == self.seqs[session]
        if session not in self.floors:
            self.ledger.add_workspace(session, 1, f"place-{session}")
        self.floors[session] = epoch

    @rule(session=st.sampled_from(SESSIONS), epoch=EPOCHS, again=st.booleans())
    def start(self, session: str, epoch: tuple[int, int], again: bool) -> None:
        known = sorted(self.states[session])
        if again and not known:
            return
        if not again:
            self.next_run += 1
        run_id = known[-1] if again else f"r{self.next_run}"
        seq = self.next_run
        spec = RunSpec(run_id, "t", session, epoch, seq, 1, STEPS)
        call = partial(self.ledger.start, spec, deadline_s=1.0, boot_id="b", now_us=1)
        if epoch < self.floors.get(session, (0, 0)):
            with pytest.raises(StaleEpoch):
                call()
        elif session not in self.floors:
            with pytest.raises(UnknownWorkspace):
                call()
        else:
            assert call() == (self.states[session][run_id] if again else "new")
            self.floors[session] = epoch
            if not again:
                self.states[session][run_id] = "running"
                self.seqs[session] = max(self.seqs[session], seq)

    @rule(session=st.sampled_from(SESSIONS), outcome=st.sampled_from(["completed", "interrupted", "orphaned"]))
    def end(self, session: str, outcome: Any) -> None:
        for run_id, state in self.states[session].items():
            if state == "running":
                result = StepResult(0, "tool", "t", 1, 2, exit_code=0)
                self.ledger.note_process(run_id, 1, 2)
                self.ledger.add_result(run_id, result)
                self.ledger.end(run_id, outcome, {"isolation": "bwrap"}, 5)
                self.ledger.end(run_id, "completed", {}, 6)
                self.states[session][run_id] = "interrupted" if outcome == "interrupted" else "finished"
                stored = self.ledger.read("t", session, run_id)
                assert stored.results == (result,) and stored.outcome == outcome and stored.pid is None
                return

    @rule(session=st.sampled_from(SESSIONS), epoch=EPOCHS)
    def attach(self, session: str, epoch: tuple[int, int]) -> None:
        if epoch >= self.floors.get(session, (0, 0)) and session in self.floors:
            for run_id, state in self.states[session].items():
                assert self.ledger.attach("t", session, epoch, run_id).state == state
                self.floors[session] = epoch
            other = SESSIONS[session == SESSIONS[0]]
            for run_id in self.states[other]:
                with pytest.raises(UnknownRun):
                    self.ledger.attach("t", session, epoch, run_id)

    @rule(session=st.sampled_from(SESSIONS))
    def another_tenant(self, session: str) -> None:
        if session in self.floors:
            with pytest.raises(WrongTenant):
                self.ledger.fence("other", session, (9, 9))

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.directory / "ledger.db", "id-2")
        assert self.ledger.ledger_id == "id-1"

    @invariant()
    def running_is_what_the_model_says(self) -> None:
        running = {run.spec.run_id for run in self.ledger.running()}
        assert running == {r for states in self.states.values() for r, state in states.items() if state == "running"}


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    opened = Ledger(tmp_path / "ledger.db", "id")
    yield opened
    opened.close()


def run_once(ledger: Ledger, run_id: str, seq: int, ended_us: int, epoch: tuple[int, int] = (1, 1)) -> Any:
    spec = RunSpec(run_id, "t", "s", epoch, seq, 1, STEPS)
    state = ledger.start(spec, deadline_s=1.0, boot_id="b", now_us=1)
    if state == "new":
        ledger.end(run_id, "completed", {}, ended_us)
    return state


def test_a_forgotten_run_never_looks_like_one_that_was_never_seen(ledger: Ledger) -> None:
    ledger.fence("t", "s", (1, 1))
    ledger.add_workspace("s", 1, "p")
    for n in range(1, 6):
        run_once(ledger, f"r{n}", seq=n, ended_us=n)
    assert sorted(ledger.prune(before_us=3)) == ["r1", "r2"]
    assert sorted(ledger.prune(before_us=0, keep=1)) == ["r3", "r4"]
    assert set(ledger.fence("t", "s", (1, 1))[0]) == {"r5"}
    assert run_once(ledger, "r1", seq=1, ended_us=9) == "interrupted"
    assert run_once(ledger, "r6", seq=6, ended_us=9) == "new"
    # After a restore the log has grown again under a new incarnation: its positions say nothing about the old ones.
    assert run_once(ledger, "r7", seq=2, ended_us=9, epoch=(2, 1)) == "new"


def test_nothing_of_an_older_epoch_is_let_in(ledger: Ledger) -> None:
    ledger.fence("t", "s", (2, 5))
    ledger.add_workspace("s", 1, "p")
    for epoch in ((2, 4), (1, 99)):
        with pytest.raises(StaleEpoch):
            ledger.fence("t", "s", epoch)
        with pytest.raises(StaleEpoch):
            run_once(ledger, "r", seq=1, ended_us=1, epoch=epoch)


def test_a_running_run_is_never_forgotten(ledger: Ledger) -> None:
    ledger.fence("t", "s", (1, 1))
    ledger.add_workspace("s", 1, "p")
    ledger.start(RunSpec("r", "t", "s", (1, 1), 1, 1, STEPS), deadline_s=1.0, boot_id="b", now_us=1)
    assert ledger.prune(before_us=10**18, keep=0) == []


def test_every_session_keeps_an_account_of_its_own(ledger: Ledger) -> None:
    for session in ("a", "b", "c"):
        ledger.fence("t", session, (1, 1))
    uids = range(600_000, 600_002)
    assert ledger.uid_of("a", uids) == 600_000 == ledger.uid_of("a", uids)
    assert ledger.uid_of("b", uids) == 600_001
    with pytest.raises(UidsUsedUp):
        ledger.uid_of("c", uids)


def test_a_ledger_of_another_layout_is_refused(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "l.db", "id")
    with first._connection:
        first._connection.execute("UPDATE ledger SET version = 99")
    first.close()
    with pytest.raises(ValueError, match="layout 99"):
        Ledger(tmp_path / "l.db", "id")
