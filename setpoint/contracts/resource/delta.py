"""What a new generation changes, by digest. The core asks it on ``apply``, the CLI to show what an apply would do."""

from __future__ import annotations

import msgspec

from setpoint.contracts.resource.model import CompiledSet


class Delta(msgspec.Struct, frozen=True):
    """Names of assets, each sorted. What is in none of the three is the same as before."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Tell whether no asset differs. Settings are no part of it."""
        return not (self.added or self.changed or self.removed)


def diff(old: CompiledSet | None, new: CompiledSet) -> Delta:
    """Compare two sets; ``old`` None is the state before the first generation."""
    before = {} if old is None else {name: asset.digest for name, asset in old.assets.items()}
    after = {name: asset.digest for name, asset in new.assets.items()}
    return Delta(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )
