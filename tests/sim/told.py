"""A life of a session, told line by line: what came in, what was logged, what was done, what is shown of it.

Called by the tests that compare such a text with one that people have read: it has every byte the core gives to the
log, to the sandbox and to the API. Times are seconds since the life began.
"""

from __future__ import annotations

from typing import Any

import msgspec

from setpoint.contracts.cell import Delivered, Input
from setpoint.contracts.codec import canonical_json
from tests.sim.world import SECOND, World


class Told(World):
    """A world that writes down what happens in it."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.lines: list[str] = []
        self.shown: dict[str, dict[str, Any]] = {}
        super().__init__(*args, **settings)

    def feed(self, observed: Input) -> None:
        """Feed as the world does, and tell it."""
        at_s = (self.now - self.began) / SECOND
        told = msgspec.structs.replace(observed, attachment=None) if isinstance(observed, Delivered) else observed
        self.lines.append(f"{at_s:10.3f} < {type(observed).__name__} {self._text(msgspec.to_builtins(told))}")
        first, effects = len(self.log), len(self.effects)
        super().feed(observed)
        for row in self.log[first:]:
            subject = " ".join(word for word in (row.asset, row.execution_id, row.command_id) if word)
            self.lines.append(f"{row.seq:10} . {row.type} {subject} {self._text(row.data)}")
        self.lines += [
            f"{'':10} > {type(effect).__name__} {self._text(msgspec.to_builtins(effect))}"
            for effect in self.effects[effects:]
        ]
        self._show()
        wake = "never" if self.wake is None else f"{(self.wake - self.began) / SECOND:.3f}"
        self.lines.append(f"{'':10} ~ {wake}")

    def _show(self) -> None:
        """Tell what is new in the documents, key by key."""
        now = {**self.docs, "(session)": msgspec.to_builtins(self.session_row)}
        for name in sorted({*now, *self.shown}):
            before, after = self.shown.get(name, {}), now.get(name, {})
            changed = {key: after.get(key) for key in {*before, *after} if before.get(key) != after.get(key)}
            if changed:
                self.lines.append(f"{'':10} = {name} {self._text(changed)}")
        self.shown = now

    def _text(self, value: object) -> str:
        return canonical_json(value).decode()
