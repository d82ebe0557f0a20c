"""``${NAME}`` in the values of environment variables: the variables that are given with a project. Pure text.

compile fills them in; nothing ever looks into the environment of a process of ours. They are no secrets: they become
a part of the compiled set. ``$${`` stands for the two characters ``${``; a dollar before anything else is itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from setpoint.contracts.codec import storable_text
from setpoint.contracts.limits import VARIABLE_BYTES_MAX, VARIABLES_MAX
from setpoint.contracts.problem import Fault
from setpoint.contracts.resource.nearest import nearest_hint
from setpoint.contracts.resource.source import excerpt

Variables = Mapping[str, str]
"""What is given with a project, by name."""

NOTATION: Final = r"\$(?P<dollar>\$?)\{(?:(?P<variable>[^{}]*)\})?"
"""A use of a variable, or a dollar that is only that. Without ``variable`` it was never closed."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_USE: Final = re.compile(NOTATION)
_LITERAL: Final = "$${ stands for ${ itself"


class Misuse(NamedTuple):
    """What is wrong with a use of a variable, as the fields of a fault."""

    code: str
    message: str
    hint: str


def misuses(text: str, given: Variables) -> Iterator[Misuse]:
    """Say what is wrong with the variables that a text uses."""
    for use in _USE.finditer(text) if "${" in text else ():
        name = use["variable"]
        if use["dollar"]:
            continue
        if name is None:
            yield Misuse(
                "bad-variable", f"the variable at {excerpt(text[use.start() :])} is not closed by }}", _LITERAL
            )
        elif _NAME.fullmatch(name) is None:
            yield Misuse("bad-variable", f"{excerpt(use[0])} is not of the form ${{NAME}}", _LITERAL)
        elif name not in given:
            hint = nearest_hint(name, given) if given else ""
            yield Misuse(
                "unset-variable", f"there is no variable {excerpt(name)}", hint or f"--var {name}=VALUE gives it"
            )


def given_faults(given: Variables) -> tuple[Fault, ...]:
    """Say what is wrong with the variables that are given, each at its place in the payload of an apply."""
    faults = []
    if len(given) > VARIABLES_MAX:
        message = f"a project has at most {VARIABLES_MAX} variables, not {len(given)}"
        return (Fault("too-large", message, pointer="/payload/variables"),)
    for name, value in given.items():
        pointer = f"/payload/variables/{name.replace('~', '~0').replace('/', '~1')}"
        if _NAME.fullmatch(name) is None:
            rule = "1 to 128 letters, digits and '_', no digit first"
            faults.append(_given("bad-name", f"{excerpt(name)} is not the name of a variable: {rule}", pointer))
        elif "\x00" in value or storable_text(value) != value:
            faults.append(_given("wrong-value", f"the value of {name} has characters that no command takes", pointer))
        elif len(value.encode()) > VARIABLE_BYTES_MAX:
            message = f"the value of {name} is longer than {VARIABLE_BYTES_MAX} bytes"
            faults.append(_given("too-large", message, pointer))
    return tuple(faults)


def _given(code: str, message: str, pointer: str) -> Fault:
    return Fault(code, storable_text(message), pointer=storable_text(pointer[:200]))
