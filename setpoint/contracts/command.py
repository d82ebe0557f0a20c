"""What one may ask of a session: the command types, their lanes and payloads.

The gateway parses a body with ``parse_command`` before it enqueues (bad input is a 4xx there); the core parses the
payload of an inbox row again with the same function, because a row is the truth and a gateway may be older.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from setpoint.contracts.limits import LANE_CONTROL, LANE_WORK
from setpoint.contracts.problem import Fault, Problem
from setpoint.contracts.resource.select import parse


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A payload whose unknown keys are an error."""


class Generation(Strict, frozen=True):
    """References to the two blobs of an applied project: the compiled resources and the file manifest (sha256 hex)."""

    resources: str
    files: str


class Apply(Strict, frozen=True):
    """Make a project the session's next generation. ``evaluate`` looks at every asset, changed or not."""

    generation: Generation
    evaluate: bool = False


class Evaluate(Strict, frozen=True):
    """Evaluate the selected assets (no selector: all). Ends when each has a verdict. Selectors: resource/select.py.

    ``dry_run``: say what would be evaluated, and run nothing.
    """

    select: list[str] = []
    exclude: list[str] = []
    dry_run: bool = False


class Sync(Strict, frozen=True):
    """Sync the selected assets in dependency order. ``stages`` is a subset of pre, run, post; empty means all.

    What a selector brings in beside the assets that it names outright, and has no sync, is left out. ``dry_run``: say
    what would run, and run nothing.
    """

    select: list[str]
    stages: list[Literal["pre", "run", "post"]] = []
    exclude: list[str] = []
    dry_run: bool = False


class Cancel(Strict, frozen=True):
    """Cancel a command and what it started, or the running sync of an asset. Exactly one of the two is given."""

    command_id: str | None = None
    asset: str | None = None


class Suspend(Strict, frozen=True):
    """Stop automatic syncs of the selected assets until ``resume``."""

    select: list[str]
    reason: str = ""
    exclude: list[str] = []


class Resume(Strict, frozen=True):
    """Lift the suspension of the selected assets and reset their failure counters."""

    select: list[str]
    exclude: list[str] = []


class Halt(Strict, frozen=True):
    """Stop automatic syncs of the whole session until ``unhalt``."""

    reason: str = ""


class Unhalt(Strict, frozen=True):
    """Lift the halt."""


class Recover(Strict, frozen=True):
    """Take a failed session up again. Whoever owns it does that; one that has not failed rejects it."""

    reason: str


class Close(Strict, frozen=True):
    """End the session: running work is cancelled, then the session takes no more commands."""


class Tool(Strict, frozen=True):
    """Run a tool in the session's sandbox: echo{text}, uppercase{text}, list_files{path?}, exec{argv, timeout_s?}."""

    name: Literal["echo", "uppercase", "list_files", "exec"]
    args: dict[str, Any] = {}


class LockBroken(Strict, frozen=True):
    """The notice that an operator took a lock away from an execution (``POST /v1/locks/{key}/break``)."""

    key: str
    execution_id: str
    by: str = ""
    reason: str = ""


Body = Apply | Evaluate | Sync | Cancel | Suspend | Resume | Halt | Unhalt | Recover | Close | Tool | LockBroken

TYPES: Final[Mapping[str, type[Strict]]] = {
    "apply": Apply,
    "evaluate": Evaluate,
    "sync": Sync,
    "cancel": Cancel,
    "suspend": Suspend,
    "resume": Resume,
    "halt": Halt,
    "unhalt": Unhalt,
    "recover": Recover,
    "close": Close,
    "tool": Tool,
}

NOTICES: Final[Mapping[str, type[Strict]]] = {"lock_broken": LockBroken}
"""What the platform itself puts into an inbox: no client may send it."""

_CONTROL: Final = frozenset({"cancel", "suspend", "resume", "halt", "unhalt", "recover", "close", *NOTICES})


def lane_of(kind: str) -> int:
    """Return the lane of a command type: control commands overtake work (architecture.md section 4)."""
    return LANE_CONTROL if kind in _CONTROL else LANE_WORK


def parse_row(kind: str, payload: object) -> Body:
    """Read a row of the inbox: a command or a notice. Raises Problem as ``parse_command`` does."""
    if kind in NOTICES:
        return _read(kind, payload, NOTICES[kind])
    return parse_command(kind, payload)


def parse_command(kind: str, payload: object) -> Body:
    """Read a payload by its command type. Raises Problem validation-failed with a pointer to what is wrong."""
    shape = TYPES.get(kind)
    if shape is None:
        known = ", ".join(sorted(TYPES))
        fault = Fault("command.unknown-type", f"there is no command {kind!r}", pointer="/type", hint=f"one of: {known}")
        raise Problem("validation-failed", f"there is no command {kind!r}; known are {known}", errors=[fault])
    return _read(kind, payload, shape)


def _read(kind: str, payload: object, shape: type[Strict]) -> Body:
    try:
        body: Any = msgspec.convert(payload, shape)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        pointer = "/payload" + path.rstrip("`").removeprefix("$").replace(".", "/").replace("[...]", "")
        code = "unknown-field" if "unknown field" in text else "validation-failed"
        raise Problem(code, f"the payload of {kind!r}: {text}", errors=[Fault(code, text, pointer=pointer)]) from error
    _check(kind, body)
    return body  # type: ignore[no-any-return]  # convert() is typed by a runtime value


def _check(kind: str, body: object) -> None:
    """Apply the rules that a shape alone cannot say."""
    if isinstance(body, Cancel) and (body.command_id is None) == (body.asset is None):
        raise Problem("validation-failed", "cancel takes either command_id or asset")
    if isinstance(body, Sync | Suspend | Resume) and not body.select:
        raise Problem("validation-failed", f"{kind} needs at least one name in select")
    if isinstance(body, Evaluate | Sync | Suspend | Resume):
        _check_selectors("select", body.select)
        _check_selectors("exclude", body.exclude)
    if isinstance(body, Tool):
        _check_tool(body)


def _check_selectors(field: str, texts: Sequence[str]) -> None:
    for index, text in enumerate(texts):
        try:
            parse(text)
        except Problem as problem:
            fault = Fault(problem.code, problem.detail, pointer=f"/payload/{field}/{index}")
            raise Problem(problem.code, problem.detail, errors=[fault]) from problem


_TOOL_ARGS: Final = {
    "echo": {"text"},
    "uppercase": {"text"},
    "list_files": {"path"},
    "exec": {"argv", "timeout_s"},
}


def _check_tool(tool: Tool) -> None:
    args = tool.args
    allowed = _TOOL_ARGS[tool.name]
    unknown = sorted(set(args) - allowed)
    if unknown:
        raise Problem("unknown-field", f"tool {tool.name} does not take {unknown[0]!r}; it takes {sorted(allowed)}")
    if tool.name in ("echo", "uppercase") and not isinstance(args.get("text"), str):
        raise Problem("validation-failed", f"tool {tool.name} needs args.text, a string")
    if tool.name == "list_files" and not isinstance(args.get("path", "."), str):
        raise Problem("validation-failed", "tool list_files takes args.path, a string")
    if tool.name == "exec":
        argv = args.get("argv")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv) or not argv[0]:
            raise Problem("validation-failed", "tool exec needs args.argv, a list of strings")
        timeout = args.get("timeout_s", 60)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
            raise Problem("validation-failed", "tool exec takes args.timeout_s between 0 and 3600")
