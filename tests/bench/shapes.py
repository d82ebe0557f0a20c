"""The projects that are converged: chains, fans, and assets that have nothing to do with each other.

An asset is Ready when its file exists, and its sync touches it. The same text is a project of both products.
"""

from __future__ import annotations

from collections.abc import Mapping

SHAPES = ("chain100", "fan200", "independent500")

_ASSET = """\
apiVersion: nagi.io/v1alpha1
kind: Conditions
metadata: {{name: {name}-there}}
spec:
  - {{name: there, type: Command, run: [test, -f, {name}.txt]}}
---
apiVersion: nagi.io/v1alpha1
kind: Sync
metadata: {{name: {name}-make}}
spec:
  run: {{type: Command, args: [touch, {name}.txt]}}
---
apiVersion: nagi.io/v1alpha1
kind: Asset
metadata: {{name: {name}}}
spec:
  upstreams: [{upstreams}]
  onDrift: [{{conditions: {name}-there, sync: {name}-make}}]
"""


def upstreams(shape: str) -> dict[str, list[str]]:
    """Return the assets of a shape, each with its upstreams."""
    kind = shape.rstrip("0123456789")
    n = int(shape.removeprefix(kind))
    names = [f"a{place:04}" for place in range(n)]
    match kind:
        case "chain":
            return {name: names[place - 1 : place] if place else [] for place, name in enumerate(names)}
        case "fan":
            return {"root": [], **{name: ["root"] for name in names}}
        case "independent":
            return {name: [] for name in names}
        case _:
            raise ValueError(f"{shape!r} is none of the shapes chainN, fanN, independentN")


def files(graph: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the resource files of a project, one an asset."""
    return {
        f"resources/{name}.yaml": _ASSET.format(name=name, upstreams=", ".join(above)) for name, above in graph.items()
    }
