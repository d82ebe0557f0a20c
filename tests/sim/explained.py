"""Whether the projection explains a world: nothing is idle and not Ready without a reason, and reasons are true."""

from __future__ import annotations

from setpoint.contracts.clock import parse_rfc3339
from setpoint.contracts.explain import Reason, Seen, compose, reasons_of, seen
from tests.sim.world import World


def explained(world: World, name: str) -> tuple[Reason, ...]:
    """Return why an asset is as it is, from the rows of the projection as they were written."""
    rows = world.docs
    return compose(seen(rows[name]), lambda above: seen(rows[above]), reasons_of(world.session_row), world.now)


def codes(world: World, name: str) -> list[str]:
    """Return the codes of these reasons, root cause first."""
    return [reason.code for reason in explained(world, name)]


def check_explained(world: World) -> None:
    """Check every asset."""
    for one in world.state.assets.values():
        row = seen(world.docs[one.name])
        found = explained(world, one.name)
        assert row.blocked == (one.unclear > 0), one
        assert found or row.settled, f"{one.name} is not settled and nothing says why: {one}"
        _check_turns(world, found)
        _check_instants(world, one.name, row.settled, found)
        _check_halt(world, row, found)


def _check_turns(world: World, found: tuple[Reason, ...]) -> None:
    """Whoever waits for its turn waits for others: as many run as are allowed."""
    if any(reason.code == "ConcurrencyLimit" for reason in found):
        state, limits = world.state, world.state.settings
        evaluating = limits.max_evaluate_concurrency is not None and state.evaluating >= limits.max_evaluate_concurrency
        syncing = limits.max_sync_concurrency is not None and state.syncing >= limits.max_sync_concurrency
        locked = any(True for _ in state.lock_queues)  # started in a decision of its own, which comes next
        assert evaluating or syncing or locked, f"nothing is full: {found}"


def _check_halt(world: World, row: Seen, found: tuple[Reason, ...]) -> None:
    """A halt is said of whatever it holds back, also while that is looked at, unless the session has ended."""
    held = (row.known == "drifted" or row.to_sync) and row.state != "syncing"
    if world.state.halted is not None and world.state.closing is None and held:
        assert "Halted" in {reason.code for reason in found}, f"{row.name} is held by a halt, said is {found}"


def _check_instants(world: World, name: str, settled: bool, found: tuple[Reason, ...]) -> None:
    """What waits for an instant alone is waited for by the core as well."""
    instants = [parse_rfc3339(reason.next_check) for reason in found if reason.next_check is not None]
    if not settled and found and len(instants) == len(found):
        assert world.wake is not None, f"{name} waits for an instant and nobody wakes: {found}"
        assert world.wake <= max(instants), f"{name} waits for {found}, the core wakes at {world.wake}"
