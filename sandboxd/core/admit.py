"""What a sandbox host lets in: clock tokens that are its own and fresh, run specs that can be carried out. Pure.

The host asks here before it touches its ledger. Nothing is repaired: what does not fit is refused whole.
"""

from __future__ import annotations

from typing import Final

from setpoint.contracts import ids, limits
from setpoint.contracts.probe import Probe
from setpoint.contracts.run import ClockToken, RunSpec, Step

_ENV_BYTES_MAX: Final = limits.ARGUMENT_BYTES_MAX
_ORPHAN_TIMEOUT_S_MAX: Final = limits.STEP_TIMEOUT_S_MAX


def token_fault(token: ClockToken, mine: ClockToken, age_s_max: float | None) -> str | None:
    """Say why ``token`` is not a fresh reading of this host's clock (``mine`` is the reading now), None when it is.

    ``age_s_max`` None accepts any age: a keep-alive carries its own deadline.
    """
    if token.boot_id != mine.boot_id:
        return "the clock token is of another boot of this machine"
    if token.ledger_id != mine.ledger_id:
        return "the clock token is of another ledger"
    if token.incarnation != mine.incarnation:
        return "the clock token is of an earlier process of this host"
    age_s = mine.clock_s - token.clock_s
    if age_s < 0:
        return "the clock token is ahead of this host's clock"
    if age_s_max is not None and age_s > age_s_max:
        return f"the clock token is {age_s:.1f} s old; {age_s_max:g} s are allowed"
    return None


def spec_fault(spec: RunSpec) -> str | None:
    """Say why a run cannot be carried out as written, None when it can."""
    for name, value in (("run_id", spec.run_id), ("session", spec.session), ("tenant", spec.tenant)):
        if not ids.is_uuid(value):
            return f"{name} is no UUID"
    if not 1 <= len(spec.steps) <= limits.RUN_STEPS_MAX:
        return f"a run has 1 to {limits.RUN_STEPS_MAX} steps, not {len(spec.steps)}"
    if [step.index for step in spec.steps] != list(range(len(spec.steps))):
        return "the steps are not numbered from 0 on"
    if not 0 < spec.orphan_timeout_s <= _ORPHAN_TIMEOUT_S_MAX:
        return f"the orphan timeout is not between 0 and {_ORPHAN_TIMEOUT_S_MAX:g} s"
    return next((fault for step in spec.steps if (fault := _step_fault(step))), None)


def path_fault(path: str) -> str | None:
    """Say why a path cannot be that of a project's file inside a workspace, None when it can."""
    if not path or "\x00" in path or "\\" in path:
        return "is empty or holds a NUL or a backslash"
    if len(path.encode("utf-8", "surrogatepass")) > limits.PROJECT_PATH_BYTES_MAX:
        return f"is longer than {limits.PROJECT_PATH_BYTES_MAX} bytes"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "is absolute, leaves the workspace or is not in its plain form"
    return None


def _step_fault(step: Step) -> str | None:
    if step.probe is not None:
        if fault := _probe_fault(step.probe):
            return f"step {step.index}: {fault}"
    elif not step.argv or not step.argv[0]:
        return f"step {step.index} has no command"
    if not 0 < step.timeout_s <= limits.STEP_TIMEOUT_S_MAX:
        return f"step {step.index}: the timeout is not between 0 and {limits.STEP_TIMEOUT_S_MAX:g} s"
    for word in step.argv:
        if fault := _word_fault(word, limits.ARGUMENT_BYTES_MAX):
            return f"step {step.index}: an argument {fault}"
    for name, value in step.env:
        if not name or "=" in name or _word_fault(name, 256):
            return f"step {step.index}: {name[:80]!r} is no name of a variable"
        if fault := _word_fault(value, _ENV_BYTES_MAX - len(name) - 1):
            return f"step {step.index}: the variable {name} {fault}"
    return None


def _probe_fault(probe: Probe) -> str | None:
    if fault := path_fault(probe.path):
        return f"the path of the probe {fault}"
    if not probe.query or (fault := _word_fault(probe.query, limits.ARGUMENT_BYTES_MAX)):
        return f"the query {fault if probe.query else 'is empty'}"
    if probe.max_age_s is not None and not 0 <= probe.max_age_s < float("inf"):
        return "the greatest age is no number of seconds"
    return None


def _word_fault(word: str, bytes_max: int) -> str | None:
    if "\x00" in word:
        return "holds a NUL"
    try:
        size = len(word.encode())
    except UnicodeEncodeError:
        return "is no valid Unicode"
    return f"is longer than {bytes_max} bytes" if size > bytes_max else None
