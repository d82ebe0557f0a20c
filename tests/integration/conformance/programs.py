"""Random programs of calls, as hosts, gateways and brokers would make them in bad times, and their comparison.

A program is a list of calls with all their arguments. It is drawn against the model, so that most calls are near the
truth: what a host believes of a session was true once. Then it is run on two back ends and compared call by call.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from tests.integration.conformance.backend import Backend, Model
from tests.integration.conformance.bench import AT, HOLD_US, SECOND, TTL_US
from tests.sim.postgres.tables import Key

Call = tuple[str, tuple[Any, ...]]
"""A function's name and its arguments, or ``advance`` and microseconds."""

CALLS: Final = 45
_STEPS_US: Final = {1: 6, SECOND: 12, 2 * SECOND: 6, 5 * SECOND: 4, TTL_US: 2, TTL_US + 1: 2, 24 * 3600 * SECOND: 1}
_MODES: Final = ("hibernate", "hibernate", "close", "drain", "move")
_BAD: Final[tuple[dict[str, Any], ...]] = (
    {"events": []},
    {"batch": None},
    {"events": [{"type": "x"}]},
    {"batch": "no"},
    {"assets": [{"name": "a", "doc": 1}, {"name": "a", "doc": 2}]},
)
_ORDERS: Final = ("serve", "serve", "serve", "cordon", "drain", "no")
_LOCKS: Final = ("k0", "k1", "k/2")


class Difference(NamedTuple):
    """The first call whose answers differ; ``at`` is past the end when only the rows do."""

    at: int
    call: Call | None
    one: Any
    other: Any


@dataclass(slots=True)
class Belief:
    """What a host knows of a session: an epoch it had, and the head after its last append."""

    key: Key
    inc: int
    epoch: int
    head: int
    last: dict[str, Any] | None = None


@dataclass(slots=True)
class Author:
    """Draws one program. ``tables`` of its own model tell it what would make sense now."""

    random: Random
    model: Model = field(default_factory=Model)
    calls: list[Call] = field(default_factory=list)
    hosts: list[tuple[str, str]] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    beliefs: list[Belief] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Commands and executions: few, so that they meet."""

    def id(self) -> str:
        """Draw an id."""
        text = f"{self.random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def call(self, name: str, *args: Any) -> Any:
        """Add a call; what the model answers is what its caller will believe."""
        self.calls.append((name, args))
        return self.model.ask(name, *args)

    def write(self, calls: int = CALLS, sessions: int = 3) -> list[Call]:
        """Draw a whole program."""
        tenants = [self.id(), self.id()]
        self.keys = [(tenants[0], self.id()), (tenants[0], self.id()), (tenants[1], self.id())]
        del self.keys[sessions:]
        self.ids = [self.id() for _ in range(6)]
        for key in self.keys[: self.random.choice([2, 3, 3, 3])]:
            self._create(key)
            self._register()
        while len(self.calls) < calls:
            self.step()
        self.call("log_page", *self.random.choice(self.keys), 0, 500)
        return self.calls

    def step(self) -> None:
        """Draw what happens next: a call, or a few."""
        drawn = self.random.random()
        if drawn < 0.08:
            self._again()
            return
        if drawn < 0.2:
            self._advance(self.random.choices(list(_STEPS_US), list(_STEPS_US.values()))[0])
            return
        acts: dict[Callable[[], None], int] = {
            self._append: 44,
            self._enqueue: 14,
            self._sweep: 10,
            self._acquire: 5,
            self._take_over: 2,
            self._release: 7,
            self._register: 3,
            self._renew: 8,
            self._bury: 6,
            self._break_lock: 4,
            self._clean: 3,
            self._create: 3,
            self._look: 5,
            self._snapshot: 4,
            self._sandbox: 3,
            self._restore: 1,
            self._order: 3,
        }
        self.random.choices(list(acts), list(acts.values()))[0]()

    def _again(self) -> None:
        """Repeat a call word for word, as after an unknown commit, or late."""
        name, args = self.random.choice(self.calls[-8:])
        if name != "advance":
            self.call(name, *args)

    def _advance(self, us: int) -> None:
        self.calls.append(("advance", (us,)))
        self.model.now += us

    def _create(self, key: Key | None = None) -> None:
        key = key or self.random.choice(self.keys)
        name = self.random.choice(["a", f"s{key[1]}", f"s{key[1]}"])
        idem = self.random.choice([None, None, "i0", "i1"])
        prefer = self.random.choice([None, "h0", "h1"])
        fingerprint = self.random.choice([b"x", b"y"]) if idem else None
        self.call("create_session", *key, name, {"n": name}, prefer, idem, fingerprint)

    def _register(self) -> None:
        host = (self.random.choice(["h0", "h1", "h2"]), self.id())
        if self.hosts and self.random.random() < 0.3:
            host = self.random.choice(self.hosts)
        public_key = b"other" if self.random.random() < 0.1 else host[0].encode()
        answer = self.call("host_register", *host, f"at-{host[1][:4]}", public_key, TTL_US)
        if answer[0] == "ok" and host not in self.hosts:
            self.hosts.append(host)

    def _renew(self) -> None:
        host = self.random.choice(self.hosts[-3:])
        row = self.model.wire.db.cell_hosts.get(host[0])
        self.call("host_renew", *host, (row.renewal_no if row else 0) + self.random.choice([-1, 0, 0, 0, 1]), TTL_US)

    def _bury(self) -> None:
        for host in self.call("dead_hosts"):
            self.call("host_dead", *host, False)
        if self.random.random() < 0.5:
            self.call("host_dead", *self._host(), self.random.random() < 0.3)

    def _sweep(self) -> None:
        host = self._host()
        for row in self.call("claim_wakes", host[0], 100, HOLD_US):
            if self.random.random() < 0.9:
                self._take((row[0], row[1]), host, row[2:4])
        self.call("owned", *host)

    def _acquire(self) -> None:
        key = self.random.choice(self.keys)
        head = self.model.wire.db.heads.get(key)
        want = (head.epoch_inc, head.epoch) if head else (1, 0)
        if self.random.random() < 0.15:
            want = (want[0], want[1] + self.random.choice([-1, 1]))
        self._take(key, self._host(), want)

    def _take_over(self) -> None:
        """Let every lease end but one, whose host takes what another had; then the other one comes back."""
        robber = self._host()
        owned = [(key, head) for key, head in self.model.wire.db.heads.items() if head.owner_host is not None]
        self._advance(self.random.choice([TTL_US, TTL_US + 1]))
        self.call("host_renew", *robber, 0, TTL_US)
        for key, head in owned:
            self._take(key, robber, (head.epoch_inc, head.epoch))
        self.call("host_renew", *self.random.choice(self.hosts), 0, TTL_US)

    def _take(self, key: Key, host: tuple[str, str], want: tuple[int, int]) -> None:
        answer = self.call("acquire", *key, *host, *want)
        if answer[0] in ("ok", "mine"):
            self.beliefs.append(Belief(key, *answer[1:]))

    def _release(self) -> None:
        if belief := self._belief():
            wake = self.random.choice([None, self.model.now, self.model.now + 7 * SECOND])
            target, avoid = self.random.choice([None, "h0"]), self.random.choice([None, "h1"])
            mode = self.random.choice(_MODES)
            self.call("release", *belief.key, belief.inc, belief.epoch, belief.head, mode, wake, target, avoid)

    def _enqueue(self) -> None:
        key, idem = self.random.choice(self.keys), self.random.choice([None, None, None, "i0", "i1", "i2"])
        command = self.random.choice(self.ids) if self.random.random() < 0.3 else self.id()
        fingerprint = self.random.choice([b"x", b"x", b"y"]) if idem else None
        lane = self.random.randrange(2)
        answer = self.call("enqueue", *key, command, lane, "tool", {"n": 1}, idem, fingerprint, 2)
        if answer[0] == "ok":
            self.ids.append(command)

    def _break_lock(self) -> None:
        some, idem = self.random, self.random.choice([None, None, "i0", "i3"])
        command = some.choice(self.ids) if some.random() < 0.2 else self.id()
        held = [key for key, lock in self.model.wire.db.locks.items() if lock is not None]
        tenant, lock_key = some.choice(held) if held and some.random() < 0.8 else (self.keys[0][0], "k0")
        why, fingerprint = some.choice([None, "why"]), some.choice([b"x", b"y"]) if idem else None
        self.call("break_lock", tenant, lock_key, command, "me", why, some.random() < 0.3, idem, fingerprint)

    def _clean(self) -> None:
        """Sweep; all there is, because which rows of many go first is open."""
        name = self.random.choice(["sweep_keys", "sweep_wakes", "sweep_locks", "sweep_fenced"])
        self.call(name, 1000, *([TTL_US] if name == "sweep_fenced" else []))

    def _append(self) -> None:
        items, seen = [], set()
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            belief = self._belief()
            if belief is None or (belief.key in seen and self.random.random() < 0.95):
                continue
            seen.add(belief.key)
            again = belief.last is not None and self.random.random() < 0.1
            items.append((belief, belief.last if again and belief.last else self._item(belief)))
        answer = self.call("append_batch", msgspec.json.encode([item for _, item in items]).decode())
        if not isinstance(answer, list):
            return
        for (belief, item), row in zip(items, answer, strict=True):
            if row[1] in ("ok", "already"):
                belief.head, belief.last = row[2], item

    def _item(self, belief: Belief) -> dict[str, Any]:
        key, some = belief.key, self.random
        head = belief.head + (some.choice([-1, 1]) if some.random() < 0.05 else 0)
        epoch = belief.epoch + (some.choice([-1, 1]) if some.random() < 0.05 else 0)
        fixed = {"tenant": key[0], "session": key[1], "inc": belief.inc, "epoch": epoch, "head_seq": head}
        item = fixed | {"batch": self.id(), "events": [self._event() for _ in range(some.choice([1, 1, 2, 3]))]}
        queue = self.model.wire.db.inbox.get(key, {})
        if queue and some.random() < 0.7:
            item["ack"] = [list(at) for at in some.sample(sorted(queue), some.randint(1, len(queue)))]
        elif some.random() < 0.06:
            item["ack"] = [[some.randrange(3), some.randrange(4)]]
        if result := self._result(key):
            item["results"] = [result]
        if some.random() < 0.3:
            item["assets"] = [{"name": some.choice(["a", "b", ""]), "doc": some.choice([None, {"n": 1}, 2])}]
        for what in ("take", "give"):
            if some.random() < 0.25:
                lock: dict[str, Any] = {"key": some.choice(_LOCKS), "execution": some.choice(self.ids[:3])}
                ttl = {"ttl_s": some.choice([None, 2, 7.5])} if what == "take" and some.random() < 0.5 else {}
                item[what] = [lock | ttl]
        return item | self._moves()

    def _moves(self) -> dict[str, Any]:
        """Draw what few items have, some of it bad."""
        some, drawn = self.random, self.random.random()
        if drawn < 0.05:
            return {"sandbox": {"host": "s0", "ledger_id": self.id(), "workspace_no": some.randrange(3)}}
        if drawn < 0.1:
            return {"generation": {"n": some.randrange(3), "resources": "r", "files": "f"}}
        if drawn < 0.13:
            return {"delivering": some.choice([None, 4])}
        return some.choice(_BAD) if drawn < 0.18 else {}

    def _event(self) -> dict[str, Any]:
        some = self.random
        event: dict[str, Any] = {"type": some.choice(["x", "y"]), "at": AT + some.randrange(9)}
        if some.random() < 0.7:
            event["data"] = {"n": some.randrange(9), "t": some.choice(["", "é", '"', None])}
        if some.random() < 0.2:
            event |= {"command_id": self.random.choice(self.ids), "asset": "a", "execution_id": self.id(), "v": 2}
        return event

    def _result(self, key: Key) -> dict[str, Any] | None:
        """Draw an end of a command that was accepted, seldom of one that ended or never was."""
        db, some = self.model.wire.db, self.random
        waiting = set(db.inbox.get(key, {}).values())
        open_ids = [
            (command, row.lane)
            for (_, command), row in db.commands.items()
            if row.session == key[1] and (key[0], command) not in db.results and command not in waiting
        ]
        if open_ids and some.random() < 0.6:
            command, lane = some.choice(open_ids)
        elif (ended := [command for tenant, command in db.results if tenant == key[0]]) and some.random() < 0.2:
            lanes = [lane for lane in (0, 1) if db.heads[key].unended[lane]] or [some.randrange(2)]
            command, lane = some.choice(ended), some.choice(lanes)
        elif some.random() < 0.03:
            command, lane = some.choice(self.ids), some.randrange(2)
        else:
            return None
        status = "fine" if some.random() < 0.03 else some.choice(["succeeded", "failed"])
        return {"command_id": command, "lane": lane, "status": status, "result": some.choice([None, {"a": 1}])}

    def _look(self) -> None:
        key, some = self.random.choice(self.keys), self.random
        looks: tuple[Call, ...] = (
            ("session_row", key),
            ("inbox", (*key, some.randrange(3), some.randrange(3), 2)),
            ("session_owner", key),
            ("heads", ([one[0] for one in self.keys], [one[1] for one in self.keys])),
            ("cell_candidates", ()),
        )
        name, args = some.choice(looks)
        self.call(name, *args)

    def _snapshot(self) -> None:
        if belief := self._belief():
            seq = max(1, belief.head + self.random.choice([-1, 0, 0, 1]))
            self.call("snapshot_write", *belief.key, belief.inc, belief.epoch, seq, "v", b"s")
            self.call("snapshot_read", *belief.key)

    def _sandbox(self) -> None:
        incarnation = self.random.choice(self.ids)
        if self.random.random() < 0.4:
            self.call("sandbox_register", "s0", incarnation, self.id(), "at", {"slots": 1})
        self.call("sandbox_seen", "s0", incarnation, {"slots": 2})
        if self.random.random() < 0.3:
            self.call("sandbox_gone", "s0", incarnation)
        if self.random.random() < 0.3:
            self.call("host_declare_dead", "s0", incarnation, "why")
            self.call("sandbox_register", "s0", incarnation, self.id(), "at", {"slots": 1})
        self.call("sandboxes")

    def _order(self) -> None:
        host, word = self.random.choice(["h0", "h1", "h2", "s0", "no"]), self.random.choice(_ORDERS)
        self.call("host_order", host, word, "why")
        self.call("host_told", host)

    def _restore(self) -> None:
        if self.random.random() < 0.3:
            self.call("restored")

    def _host(self) -> tuple[str, str]:
        """Draw a host: most often one that is alive."""
        alive = [(row[0], row[1]) for row in self.model.ask("cell_candidates")]
        return self.random.choice(alive if alive and self.random.random() < 0.8 else self.hosts)

    def _belief(self) -> Belief | None:
        """Draw a belief: most often one that holds."""
        heads = self.model.wire.db.heads
        true = [
            one
            for one in self.beliefs
            if (head := heads[one.key]).owner_host and (head.epoch_inc, head.epoch) == (one.inc, one.epoch)
        ]
        believed = true if true and self.random.random() < 0.85 else self.beliefs
        return self.random.choice(believed) if believed else None


@functools.cache
def program(seed: int) -> tuple[Call, ...]:
    """Return the program of a seed."""
    return tuple(Author(Random(seed)).write())


async def differ(calls: Sequence[Call], one: Backend, other: Backend) -> Difference | None:
    """Run a program on two empty back ends; None when they answer and end alike."""
    for at, (name, args) in enumerate(calls):
        if name == "advance":
            await one.advance(*args)
            await other.advance(*args)
            continue
        first, second = await one.call(name, *args), await other.call(name, *args)
        if first != second:
            return Difference(at, (name, args), first, second)
    first, second = await one.dump(), await other.dump()
    if first == second:
        return None
    tables = [table for table in first if first[table] != second[table]]
    return Difference(len(calls), None, {t: first[t] for t in tables}, {t: second[t] for t in tables})


async def smallest(
    calls: Sequence[Call], judge: Callable[[Sequence[Call]], Awaitable[Difference | None]]
) -> list[Call]:
    """Leave out calls of a program that differs as long as it still does: halves first, then one by one."""
    found = await judge(calls)
    kept = list(calls[: found.at + 1] if found is not None else calls)
    size = len(kept) // 2
    while size:
        at = 0
        while at < len(kept):
            less = kept[:at] + kept[at + size :]
            if await judge(less) is not None:
                kept = less
            else:
                at += size
        size //= 2
    return kept
