"""Models that break one rule each: what the random programs must notice, or they would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.integration.conformance.backend import Model
from tests.sim.postgres.tables import Tables, Wake

Go = Callable[..., Any]
Break = Callable[[Tables, tuple[Any, ...], Go], Any]
"""Does one call wrongly: the rows, the arguments, and the right function."""


class Doctored(Model):
    """A model in which one rule is broken."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self._name, self._break = DOCTORED[rule]

    def ask(self, name: str, *args: Any, **more: Any) -> Any:
        """Call, wrongly where it is the broken function."""
        if name != self._name:
            return super().ask(name, *args, **more)
        self.wire.db.now = self.now
        return self._break(self.wire.db, args, lambda *changed: super(Doctored, self).ask(name, *changed))


def _any_epoch(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    items = msgspec.json.decode(args[0])
    for item in items:
        if (head := db.heads.get((item["tenant"], item["session"]))) is not None:
            item |= {"inc": head.epoch_inc, "epoch": head.epoch}
    return go(msgspec.json.encode(items).decode())


def _without_owner(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    free = [head for head in db.heads.values() if head.owner_host is None]
    for head in free:
        head.owner_host = "somebody"
    answer = go(*args)
    for head in free:
        head.owner_host = None
    return answer


def _no_memory_of_the_batch(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    for head in db.heads.values():
        head.last_batch_id = None
    return go(*args)


def _no_locks(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    kept = dict(db.locks)
    db.locks.clear()
    answer = go(*args)
    db.locks = kept | db.locks
    return answer


def _ends_again(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    kept = dict(db.results)
    db.results.clear()
    answer = go(*args)
    db.results = kept | db.results
    return answer


def _breaks_the_young(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    return go(*args[:5], True, *args[6:])


def _quota_off_by_one(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    return go(*args[:-1], args[-1] + 1)


def _nobody_is_woken(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    kept = {key: Wake(wake.wake_at, wake.prefer_host, wake.avoid_host) for key, wake in db.wakes.items()}
    answer = go(*args)
    db.wakes = kept
    return answer


def _keys_end_early(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    db.claims = {key: claim for key, claim in db.claims.items() if claim.expires_at > db.now + 24 * 3600 * 999_999}
    return go(*args)


def _never_busy(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    kept = {key: head.opened for key, head in db.heads.items()}
    for head in db.heads.values():
        head.opened = [0, 0]
    answer = go(*args)
    for key, head in db.heads.items():
        head.opened = kept[key]
    return answer


def _robs_the_living(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    for name, host in db.cell_hosts.items():
        if name != args[2]:
            host.lease_expires_at = min(host.lease_expires_at, db.now - 1)
    return go(*args)


def _fences_nobody(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    kept = {name: host.state for name, host in db.cell_hosts.items()}
    answer = go(*args)
    for name, host in db.cell_hosts.items():
        host.state = kept.get(name, host.state)
    return answer


def _without_a_lease(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    host = db.cell_hosts.get(args[2])
    if host is not None and host.incarnation == args[3] and host.state == "ready":
        host.lease_expires_at = max(host.lease_expires_at, db.now + 1)
    return go(*args)


def _prefers_nobody(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    for wake in db.wakes.values():
        wake.prefer_host = None
    return go(*args)


def _avoids_nobody(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    for wake in db.wakes.values():
        wake.avoid_host = None
    return go(*args)


def _holds_nothing(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    return go(args[0], args[1], 0)


def _renews_the_marked(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    host = db.cell_hosts.get(args[0])
    if host is not None:
        host.state = "ready"
    return go(*args)


def _counts_backwards(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    return go(args[0], args[1], 0, args[3])


def _any_key(db: Tables, args: tuple[Any, ...], go: Go) -> Any:
    host = db.cell_hosts.get(args[0])
    return go(*args[:3], host.public_key if host is not None else args[3], args[4])


DOCTORED: Final[dict[str, tuple[str, Break]]] = {
    "an append of an older epoch goes through": ("append_batch", _any_epoch),
    "an append without an owner goes through": ("append_batch", _without_owner),
    "a repeated batch is not known": ("append_batch", _no_memory_of_the_batch),
    "a held lock is free": ("append_batch", _no_locks),
    "a command ends twice": ("append_batch", _ends_again),
    "a young lock is broken without force": ("break_lock", _breaks_the_young),
    "a lane takes one more than its quota": ("enqueue", _quota_off_by_one),
    "a command wakes nobody": ("enqueue", _nobody_is_woken),
    "an idempotency key ends at once": ("enqueue", _keys_end_early),
    "a session hibernates on waiting commands": ("release", _never_busy),
    "a release wakes nobody": ("release", _nobody_is_woken),
    "a living owner is robbed": ("acquire", _robs_the_living),
    "a take-over fences nobody": ("acquire", _fences_nobody),
    "a host acquires without a lease": ("acquire", _without_a_lease),
    "an acquire leaves its wake": ("acquire", _nobody_is_woken),
    "a preferred host is not waited for": ("claim_wakes", _prefers_nobody),
    "a host to avoid is not avoided": ("claim_wakes", _avoids_nobody),
    "a claim does not postpone": ("claim_wakes", _holds_nothing),
    "a marked host renews": ("host_renew", _renews_the_marked),
    "a database that went back is not seen": ("host_renew", _counts_backwards),
    "another key takes a living host's name": ("host_register", _any_key),
    "a new incarnation wakes nobody": ("host_register", _nobody_is_woken),
    "a marked host's sessions stay asleep": ("host_dead", _nobody_is_woken),
}
"""A rule in words: the function that breaks it, and how."""
