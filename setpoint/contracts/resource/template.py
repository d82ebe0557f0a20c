"""Templates: ``{{ asset.name }}``, ``{{ asset.modelName }}`` and ``{{ sync.key }}`` in texts of resources. Pure text.

One pass from left to right: what a variable brings in is never looked at again. Braces around something that does not
begin with a word, such as ``{{.State}}``, are not ours and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from setpoint.contracts.resource.source import excerpt
from setpoint.contracts.resource.variable import NOTATION

_OPEN = re.compile(r"\{\{\s{0,100}(?=[A-Za-z_])")
_VARIABLE = re.compile(r"\{\{\s{0,100}([A-Za-z_][A-Za-z0-9_.-]{0,200}?)\s{0,100}\}\}")
_IN_ENVIRONMENT = re.compile(f"{_VARIABLE.pattern}|{NOTATION}")

ASSET_VARIABLES: Final = ("asset.name", "asset.modelName")
SYNC_PREFIX: Final = "sync."


def template_faults(text: str) -> tuple[str, ...]:
    """Say what is wrong with the templates of a text, whatever the asset: unknown variables, braces left open."""
    if "{{" not in text:
        return ()
    faults = []
    for opened in _OPEN.finditer(text):
        variable = _VARIABLE.match(text, opened.start())
        if variable is None:
            faults.append(f"the template at {excerpt(text[opened.start() :])} is not of the form {{{{ variable }}}}")
        elif not _is_known(variable.group(1)):
            faults.append(f"there is no template variable {excerpt(variable.group(1))}")
    return tuple(faults)


def variables(text: str) -> frozenset[str]:
    """Return the names of the variables that a text uses."""
    return frozenset(_VARIABLE.findall(text)) if "{{" in text else frozenset()


@dataclass
class Expander:
    """Fills in the variables of one asset's texts. ``chars_left`` bounds what they may grow to in all.

    ``given`` are the variables that came with the project; only values of environment variables use them.
    Once the bound is passed, ``overflown`` is True and every further text comes back empty: the caller refuses the
    asset. A variable that is not known stays as it is (compile has reported it).
    """

    values: Mapping[str, str]
    chars_left: int
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def overflown(self) -> bool:
        """Tell whether the texts grew beyond the bound."""
        return self.chars_left < 0

    def expand(self, text: str) -> str:
        """Return the text with its templates filled in, never more than the bound."""
        return self._filled(text, _VARIABLE.finditer(text) if "{{" in text else ())

    def expand_env(self, text: str) -> str:
        """Return the value of an environment variable, its templates and its ``${NAME}`` filled in, in one pass."""
        return self._filled(text, _IN_ENVIRONMENT.finditer(text) if "{{" in text or "${" in text else ())

    def _filled(self, text: str, uses: Iterable[re.Match[str]]) -> str:
        pieces: list[str] = []
        end = 0
        for use in uses:
            pieces += (text[end : use.start()], self._meaning(use))
            end = use.end()
            self.chars_left -= len(pieces[-1]) + len(pieces[-2])
            if self.overflown:
                return ""
        self.chars_left -= len(text) - end
        return "" if self.overflown else "".join((*pieces, text[end:]))

    def _meaning(self, use: re.Match[str]) -> str:
        if use[1] is not None:
            return self.values.get(use[1], use[0])
        return use[0][1:] if use["dollar"] else self.given.get(use["variable"] or "", use[0])


def _is_known(variable: str) -> bool:
    return variable in ASSET_VARIABLES or (variable.startswith(SYNC_PREFIX) and len(variable) > len(SYNC_PREFIX))
