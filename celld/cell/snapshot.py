"""A snapshot: the state of a session as bytes, and the state again from them. Called by the cell alone.

What follows from the assets (the indexes, the gates, who is above whom) is left out and built anew, so that it can
never disagree with them. A snapshot is only a shortcut: whoever cannot read one folds the log from its start.
"""

from __future__ import annotations

import hashlib
import types
import typing
import zlib
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from celld.core import schedule
from celld.core.lineage import Lineage
from celld.core.state import Asset, Execution, State
from celld.core.table import Agenda, Table
from setpoint.contracts import limits
from setpoint.contracts.resource.graph import downstreams, topological_order

_CODE: Final = 1
"""Counted up by hand when the folds give the fields of a state another meaning: older snapshots are then not read."""

_COMPRESSION: Final = 1


class SnapshotRefused(Exception):
    """There is no snapshot of this state, or these bytes are none of this session by this version: use the log."""


class _Stored(msgspec.Struct, frozen=True):
    """A state without its tables of assets and executions, and those as lists."""

    state: State
    assets: tuple[Asset, ...]
    executions: tuple[Execution, ...]


def encode(state: State) -> bytes:
    """Return the snapshot of a state. Raises SnapshotRefused when it is too large, or holds what cannot be written."""
    bare = replace(
        state,
        downstreams={},
        lineage=Lineage(),
        assets=Table(),
        executions=Table(),
        looks=Agenda(),
        directs=Agenda(),
        requested=Agenda(),
        halted_drifts=Agenda(),
        lock_queues=Table(),
        quiet_waits=Table(),
        evaluating=0,
        syncing=0,
        busy=0,
    )
    stored = _Stored(bare, tuple(state.assets.values()), tuple(state.executions.values()))
    try:
        content = zlib.compress(_encoder.encode(stored), _COMPRESSION)
    except (OverflowError, UnicodeEncodeError) as error:  # JSON, from which states are made, knows larger numbers
        raise SnapshotRefused(f"{type(error).__name__}: {error}") from error
    if len(content) > limits.SNAPSHOT_BYTES_MAX:
        raise SnapshotRefused(f"a snapshot of {len(content)} bytes")
    return content


def decode(content: bytes, session: str) -> State:
    """Return the state that ``encode`` was given. Raises SnapshotRefused."""
    try:
        stored = _decoder.decode(zlib.decompress(content))
        if stored.state.session_id != session:
            raise SnapshotRefused(f"it is of session {stored.state.session_id}")
        graph = {asset.name: asset.spec.upstreams for asset in stored.assets}
        state = replace(stored.state, executions=Table((one.id, one) for one in stored.executions))
        return schedule.rebuild(state, stored.assets, downstreams(graph), topological_order(graph))
    except (msgspec.MsgspecError, zlib.error, ValueError, LookupError, TypeError) as error:
        raise SnapshotRefused(f"{type(error).__name__}: {error}") from error


def _to_builtins(value: Any) -> Any:
    if isinstance(value, Table):
        return {key: value[key] for key in value}
    assert isinstance(value, Agenda), f"a state holds a {type(value).__name__}"
    return list(value)


def _from_builtins(kind: Any, value: Any) -> Any:
    if kind is Agenda:
        return Agenda(msgspec.convert(value, list[tuple[int, str]]))
    (of,) = typing.get_args(kind)
    return Table(msgspec.convert(value, types.GenericAlias(dict, (str, of)), dec_hook=_from_builtins).items())


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_to_builtins)
_decoder: Final = msgspec.msgpack.Decoder(_Stored, dec_hook=_from_builtins)


def _shape() -> str:
    """Spell out every field of the state and of what it is made of: another shape is another version."""
    seen: dict[str, str] = {}
    left: list[Any] = [_Stored]
    while left:
        kind = left.pop()
        left += typing.get_args(kind)
        if not isinstance(kind, type) or not issubclass(kind, msgspec.Struct) or _name(kind) in seen:
            continue
        hints = typing.get_type_hints(kind)
        spelt = [f"{name}:{hints[name]}" for name in kind.__struct_fields__]
        if kind.__struct_config__.omit_defaults:  # what is left out means the default, so that belongs to the shape
            spelt += [f"{one.name}={one.default!r}" for one in msgspec.structs.fields(kind)]
        seen[_name(kind)] = f"{kind.__struct_config__.tag}({', '.join(spelt)})"
        left += hints.values()
    return "\n".join(f"{name} {seen[name]}" for name in sorted(seen))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


VERSION: Final = f"{_CODE}-{hashlib.sha256(_shape().encode()).hexdigest()[:16]}"
"""The version of the core that this cell runs; a snapshot names the one that wrote it, and only that one reads it."""
