"""Small projects as text, for black-box tests: assets whose data is a file in the workspace."""

from __future__ import annotations

from collections.abc import Sequence


def asset(name: str, upstreams: Sequence[str] = (), interval: str = "", sync: str = "", auto: bool = True) -> str:
    """Return the three resources of an asset: it is Ready when ``NAME.txt`` exists, and its sync writes it.

    Each sync appends a line at its start and one at its end to ``recorder.log``: what the checker of overlaps reads.
    ``sync`` is shell text that runs between the two; ``interval`` is how often the condition is looked at.
    """
    ups = f"  upstreams: [{', '.join(upstreams)}]\n" if upstreams else ""
    look = f"\n    interval: {interval}" if interval else ""
    off = "" if auto else "  autoSync: false\n"
    body = sync or ":"
    return f"""\
apiVersion: setpoint.dev/v1alpha1
kind: Conditions
metadata: {{name: {name}-there}}
spec:
  - name: {name}-file
    type: Command
    run: [test, -f, {name}.txt]{look}
---
apiVersion: setpoint.dev/v1alpha1
kind: Sync
metadata: {{name: {name}-make}}
spec:
  run:
    type: Command
    args:
      - sh
      - -euc
      - |
        echo "start {name} $SETPOINT_EXECUTION_ID" >> recorder.log
        {body}
        echo made > {name}.txt
        echo "end {name} $SETPOINT_EXECUTION_ID" >> recorder.log
---
apiVersion: setpoint.dev/v1alpha1
kind: Asset
metadata: {{name: {name}}}
spec:
{ups}{off}  onDrift:
    - conditions: {name}-there
      sync: {name}-make
"""


def project(*assets: str) -> dict[str, str]:
    """Return the files of a project made of these assets."""
    return {"setpoint.yaml": "{}\n", "resources/assets.yaml": "---\n".join(assets)}


def wait_for_file(path: str) -> str:
    """Return shell text that waits, at most 30 s, until a file of the workspace exists."""
    return f"n=0; while [ ! -e {path} ]; do n=$((n+1)); [ $n -lt 600 ] || exit 9; sleep 0.05; done"


def overlaps(recorder: str, name: str) -> list[str]:
    """Return the executions of an asset that began while another of it had not ended, from the recorder's lines.

    An execution that was killed leaves a start without an end; it is over when the next one starts only if the
    killed one can write no more, which the second return path of the caller checks by the lines' order.
    """
    open_: set[str] = set()
    found: list[str] = []
    for line in recorder.splitlines():
        word, asset_name, execution = line.split()
        if asset_name != name:
            continue
        if word == "start":
            if open_:
                found.append(execution)
            open_.add(execution)
        else:
            open_.discard(execution)
    return found


def runs(recorder: str, name: str) -> list[str]:
    """Return the executions of an asset in the order they started."""
    words = [line.split() for line in recorder.splitlines()]
    return [execution for word, asset_name, execution in words if word == "start" and asset_name == name]
