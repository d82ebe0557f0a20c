"""A random life of one session: faults of every kind the core can meet, then quiet; it must converge or say why not.

The random source is an argument, so that a seed replays its episode.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from celld.core.schedule import direct_pair, may_sync
from celld.core.state import Asset
from setpoint.contracts.resource.model import CompiledAsset, CompiledSet
from tests.sim.explained import check_explained
from tests.sim.world import Fate, World, asset, fold, pair, project

FAULTS_S = 1800.0
QUIET_S = 6 * 3600.0
LOCKS = ("warehouse", "lake")
FATES: tuple[Fate, ...] = ("running", "running", "finished", "never_seen", "interrupted", "lost")


def episode(random: Random, *, actions: int = 40) -> World:
    """Live through one episode and check its end; the world is returned for a look at its log."""
    world = World(_project(random, random.randint(2, 7)), all_ready=random.random() < 0.5)
    quality = random.choice((1.0, 0.8, 0.5))
    for name in sorted(world.compiled.assets):
        world.scripts[name] = _script(random, name, quality)
    world.evaluate_s = {name: random.choice((0.5, 1.0, 20.0)) for name in world.compiled.assets}
    world.sync_s = {name: random.choice((2.0, 10.0, 90.0)) for name in world.compiled.assets}
    for _ in range(actions):
        world.run(random.choice((0.0, 0.5, 3.0, 10.0, 45.0, FAULTS_S / actions)))
        _act(random, world)
        check_explained(world)
    _calm(world)
    check_explained(world)
    world.run(QUIET_S)
    _check(world)
    check_explained(world)
    return world


def _project(random: Random, n: int) -> CompiledSet:
    names = [f"n{i}" for i in range(n)]
    assets = [_asset(random, name, names[:place]) for place, name in enumerate(names)]
    limits = (None, None, 1, 2)
    return project(
        *assets,
        max_sync_concurrency=random.choice(limits),
        max_evaluate_concurrency=random.choice(limits),
        lock_retry_interval_s=random.choice((5.0, 120.0)),
        lock_retry_max_attempts=random.choice((1, 3)),
    )


def _asset(random: Random, name: str, above: list[str]) -> CompiledAsset:
    upstreams = [upstream for upstream in above if random.random() < 0.4]
    if random.random() < 0.15:
        return asset(name, *upstreams, pairs=())
    pairs = [
        pair(
            *(f"c{place}{i}" for i in range(random.randint(1, 2))),
            sync=None if random.random() < 0.1 else f"fix{place}",
            interval=random.choice((None, 60.0, 300.0)),
            stages=random.choice(("run", "pre run", "pre run post")),
            lock=random.choice((None, None, *LOCKS)),
            check_at=random.choice((None, None, "*/7 * * * *")),
            cache_ttl_s=random.choice((0.0, 0.0, 100.0, 600.0)),
        )
        for place in range(random.randint(1, 3))
    ]
    return asset(
        name,
        *upstreams,
        pairs=pairs,
        auto_sync_on_drift=random.random() > 0.15,
        auto_sync_on_change=random.random() < 0.3,
        upstream_policy=random.choice(("any", "any", "all")),
    )


def _script(random: Random, name: str, quality: float) -> Callable[[World, str], bool]:
    """Return how a faulty asset's stages go: well, in vain, with a failure, or breaking what was whole."""

    def carry_out(world: World, label: str) -> bool:
        sync, stage = label.split("/")
        if random.random() < quality:
            if stage == "run":
                world.heal(name, sync)
            return True
        if random.random() < 0.3:
            for key in [key for key in world.truth if key[0] == name]:
                world.truth[key] = random.random() < 0.5
        return random.random() < 0.3

    return carry_out


def _act(random: Random, world: World) -> None:
    names = sorted(name for name, spec in world.compiled.assets.items())
    some = random.sample(names, random.randint(1, len(names)))
    conditions = sorted(world.truth)
    match random.randint(0, 17):
        case 0 | 1 | 2 if conditions:
            world.truth[random.choice(conditions)] = random.choice((False, False, True, "timeout", "spawn"))
        case 3:
            world.command("halt", {"reason": "a test"})
        case 4:
            world.command("unhalt")
        case 5:
            world.command("suspend", {"select": some})
        case 6:
            world.command("resume", {"select": some})
        case 7:
            world.command("evaluate", {"select": random.choice((some, []))})
        case 8:
            world.command("sync", {"select": some, "stages": random.choice(([], [], ["run"]))})
        case 9:
            world.command("cancel", {"asset": random.choice(names)})
        case 10 if world.state.commands:
            world.command("cancel", {"command_id": random.choice(sorted(world.state.commands))})
        case 11:
            _reapply(random, world, names)
        case 12:
            world.crash(lambda execution_id: random.choice(FATES))
        case 13:
            world.place = ("sandbox-2", f"ledger-{random.randint(1, 3)}", world.place[2] + random.randint(0, 1))
        case 14:
            if not world.foreign.pop(key := random.choice(LOCKS), None):
                world.hold(key)
        case 15 if world.locks and random.random() < 0.5:
            world.break_lock(random.choice(sorted(world.locks)))
        case 15:
            world.change_files()
        case 16:
            world.command("tool", {"name": "echo", "args": {"text": "x"}})
        case _:
            world.command("apply", {"generation": {"resources": "none", "files": "none"}})


def _reapply(random: Random, world: World, names: list[str]) -> None:
    """Apply the same project, or one in which some assets changed, left or are new."""
    kept = [world.compiled.assets[name] for name in names if random.random() < 0.7]
    present = {spec.name for spec in kept}
    kept = [spec for spec in kept if set(spec.upstreams) <= present]
    above = [spec.name for spec in kept]
    fresh = [_asset(random, name, []) for name in ("n8", "n9") if random.random() < 0.3 and name not in above]
    changed = [_asset(random, name, []) for name in names if name not in present and random.random() < 0.5]
    chosen = {spec.name: spec for spec in (*kept, *fresh, *changed)}
    closed = {name: spec for name, spec in chosen.items() if set(spec.upstreams) <= set(chosen)}
    while any(not set(spec.upstreams) <= set(closed) for spec in closed.values()):
        closed = {name: spec for name, spec in closed.items() if set(spec.upstreams) <= set(closed)}
    if closed:
        world.apply(project(*closed.values()), evaluate=random.random() < 0.2)


def _calm(world: World) -> None:
    """End all faults and take back what a person has stopped."""
    world.scripts.clear()
    world.foreign.clear()
    for key, holds in list(world.truth.items()):
        if isinstance(holds, str):
            world.truth[key] = False
    world.command("unhalt")
    stopped = [asset.name for asset in world.state.assets.values() if asset.suspended is not None]
    world.run(300)
    stopped += [asset.name for asset in world.state.assets.values() if asset.suspended is not None]
    for name in sorted(set(stopped)):
        world.command("resume", {"select": [name]})


def _check(world: World) -> None:
    state = world.state
    assert fold(world.log) == state, "the fold of the whole log is not the state"
    assert not state.commands, f"commands that never ended: {list(state.commands.values())}"
    for command in world.events("command.accepted"):
        assert len(world.ends(command.command_id or "")) == 1, command
    started = [event for event in world.log if event.type == "sync.started"]
    for event in started:
        ends = [e.type for e in world.log if e.execution_id == event.execution_id and _ends_a_sync(e.type)]
        assert len(ends) == 1, (event, ends)
    for one in state.assets.values():
        _check_triggers(world, one)
        if one.spec.pairs:
            assert one.known == "ready" or _cause(world, one), f"{one.name} is stuck without a reason: {one}"
            assert one.direct is None or _cause(world, one), f"{one.name} has a trigger that nobody serves: {one}"
            truly = all(world.truth[one.name, condition.name] is True for condition in one.spec.conditions())
            timed = all(condition.interval_s for condition in one.spec.conditions())
            assert truly or one.known != "ready" or not timed or _cause(world, one), f"{one.name} is not what is known"


def _check_triggers(world: World, one: Asset) -> None:
    """A trigger is followed by a good run of the sync it asks for, or is still owed: none is ever lost."""
    if not may_sync(one) or one.direct is not None:
        return
    changed = max(
        (e.seq for e in world.events("resources.applied") if e.data["generation"] == one.generation), default=0
    )
    triggers = [e.seq for e in world.events("asset.ready", after=changed) if one.name in e.data["triggers"]]
    wanted = direct_pair(one)
    if not triggers or wanted is None or wanted[1].sync is None:
        return
    last_stage = wanted[1].sync.stages()[-1][0]
    good = {
        e.execution_id
        for e in world.events("sync.step_finished", one.name, triggers[-1])
        if e.data["name"] == last_stage and e.data.get("exit_code") == 0
    }
    ran = [e for e in world.events("sync.started", one.name) if e.execution_id in good and e.data["pair"] == wanted[0]]
    cancelled = world.events("sync.cancelled", one.name, triggers[-1])
    assert ran or cancelled, f"the trigger of {one.name} at {triggers[-1]} was lost"


def _ends_a_sync(kind: str) -> bool:
    return kind in {f"sync.{end}" for end in ("succeeded", "failed", "cancelled", "skipped", "outcome_unknown")}


def _seen(one: Asset, condition: str) -> str:
    return one.results[condition].state if condition in one.results else "unknown"


def _cause(world: World, one: Asset) -> str:
    """Return why an asset is not brought on: by its own spec, a suspension, or an upstream that is not."""
    if one.suspended is not None:
        return "suspended"
    drifted = [
        place
        for place, one_pair in enumerate(one.spec.pairs)
        if any(_seen(one, condition.name) == "drifted" for condition in one_pair.conditions)
    ]
    if drifted and (not one.spec.auto_sync_on_drift or one.spec.pairs[drifted[0]].sync is None):
        return "nothing may sync it"
    if one.restless and _cause(world, world.state.assets[one.restless]):
        return f"waits for {one.restless} to come to rest"
    for upstream in one.spec.upstreams:
        above = world.state.assets[upstream]
        if above.spec.pairs and above.known != "ready" and _cause(world, above):
            return f"blocked by {upstream}"
        if (not above.spec.pairs or above.unclear) and _cause(world, above):
            return f"blocked above {upstream}"
    return ""
