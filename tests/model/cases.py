"""What is checked: each model as it is, what it must be able to reach, and each rule left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Case:
    """A search of ``model``. ``flags`` are -D of the model; ``must_fail``: an assertion must be broken."""

    model: str
    says: str
    flags: tuple[str, ...] = ()
    must_fail: bool = True

    @property
    def flag(self) -> str:
        """Return what names the case; empty for the model as it is."""
        return "+".join(self.flags)


CASES: Final = (
    Case("log", "the protocol: lease, append, inbox, sleep", must_fail=False),
    Case("log", "can be reached: promised, ended, over three owners, asleep", ("REACHED",)),
    Case("log", "fence off: append compares neither epoch nor head", ("NO_EPOCH", "NO_HEAD")),
    Case("log", "append compares the head, not the epoch", ("NO_EPOCH",)),
    Case("log", "append compares the epoch, not the head", ("NO_HEAD",)),
    Case("log", "a command leaves the inbox before its event is committed", ("ACK_FIRST",)),
    Case("log", "effects are carried out before the commit", ("ACT_FIRST",)),
    Case("log", "a repeated request is taken for a new one", ("NO_KEY",)),
    Case("log", "a command for a session that nobody owns makes it not due", ("NO_WAKE",)),
    Case("log", "a session goes to sleep over a command that raced in", ("SLEEP_BUSY",)),
    Case("sync", "the protocol: fences, clock tokens, deadlines, moves", must_fail=False),
    Case("sync", "the same with a sandbox host that dies, with or without its disk", ("RESTARTS",), must_fail=False),
    Case("sync", "can be reached: a run adopted, alive after its first deadline", ("REACHED_ADOPTION",)),
    Case("sync", "can be reached: two executions, one after the other, on two hosts", ("REACHED_LOSS",)),
    Case("sync", "acquire does not mark the holder whose lease is over", ("NO_MARK",)),
    Case("sync", "a marked holder renews", ("RENEW_MARKED",)),
    Case("sync", "the append of a former owner is not fenced", ("NO_APPEND_FENCE",)),
    Case("sync", "no epoch floor on the sandbox host", ("NO_FLOOR",)),
    Case("sync", "a start with an old clock token is let in", ("NO_TOKEN_AGE",)),
    Case("sync", "the clock is read after the renewal", ("READ_AFTER",)),
    Case("sync", "the orphan deadline is counted from receipt", ("RECEIPT",)),
    Case("sync", "an unreachable run is given up at once", ("NO_WAIT",)),
    Case("sync", "the wait is counted from the log, not from the answer to acquire", ("WAIT_FROM_START",)),
    Case("sync", "the wait is not longer than the deadline, though a kill takes time", ("NO_GRACE",)),
    Case("sync", "another life of the cell forgets when something was started last", ("LIFE_FORGETS",)),
    Case("sync", "never_seen is taken for never sent in the same epoch", ("CANCEL_SENT",)),
    Case("sync", "the session moves although a run is open", ("MOVE_BUSY",)),
    Case("sync", "never_seen is believed of a new ledger", ("RESTARTS", "BELIEVE_NEW_LEDGER")),
)
