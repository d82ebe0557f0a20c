"""Assets made of files, as the features speak of them: what the project says of each, and how a test steers it.

A part of an asset is a file of the workspace: a condition asks whether it is there, a sync writes it. Marks, which
are files too, change what a sync does while the project stays as it is. The steps in conftest.py fill these in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

API = "setpoint.dev/v1alpha1"
HELD, FAILING, IDLE, SPOILING = "held", "failing", "idle", "spoiling"

_SYNC = """\
echo "start {name} $SETPOINT_EXECUTION_ID" >> recorder.log
n=0
while [ -e held.{name} ]; do n=$((n+1)); [ $n -lt 600 ] || exit 9; sleep 0.05; done
[ ! -e failing.{name} ] || exit 3
if [ -e spoiling.{name} ]; then rm -f {others}
elif [ ! -e idle.{name} ]; then echo made > {path}
fi
echo "end {name} $SETPOINT_EXECUTION_ID" >> recorder.log
"""


def mark(what: str, name: str) -> str:
    """Return the file that, while it is there, has the syncs of an asset wait, fail, do nothing or undo the rest."""
    return f"{what}.{name}"


@dataclass
class Made:
    """An asset. ``parts`` are the endings of its files, ``condition``, ``sync`` and ``spec`` more of its documents.

    ``stages`` has shell text for pre and post; ``program``: its check is a program of the project that can be lost.
    """

    name: str
    upstreams: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=lambda: ["txt"])
    labels: dict[str, str] = field(default_factory=dict)
    condition: dict[str, Any] = field(default_factory=dict)
    sync: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    program: bool = False

    def paths(self) -> list[str]:
        """Return the files of the asset, one for each part."""
        return [f"{self.name}.{part}" for part in self.parts]

    def check(self, path: str) -> str:
        """Return the program that looks for a file when ``program`` is set."""
        return f"check-{path}"

    def documents(self) -> list[dict[str, Any]]:
        """Return the resources of the asset: one pair of Conditions and Sync for each part, then the asset."""
        documents = [document for path in self.paths() for document in (self._conditions(path), self._sync(path))]
        pairs = [{"conditions": f"{path}-there", "sync": f"make-{path}"} for path in self.paths()]
        spec = {"upstreams": self.upstreams} | ({"onDrift": pairs} if pairs else {}) | self.spec
        metadata = {"name": self.name, "labels": self.labels}
        return [*documents, {"apiVersion": API, "kind": "Asset", "metadata": metadata, "spec": spec}]

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Return the files that the project has beside its resources: path to content and mode."""
        paths = self.paths() if self.program else []
        return {self.check(path): (f"#!/bin/sh\ntest -f {path}\n".encode(), 0o755) for path in paths}

    def _conditions(self, path: str) -> dict[str, Any]:
        run = [f"./{self.check(path)}"] if self.program else ["test", "-f", path]
        spec = [{"name": f"{path} is there", "type": "Command", "run": run} | self.condition]
        return {"apiVersion": API, "kind": "Conditions", "metadata": {"name": f"{path}-there"}, "spec": spec}

    def _sync(self, path: str) -> dict[str, Any]:
        others = " ".join(other for other in self.paths() if other != path)
        shell = _SYNC.format(name=self.name, path=path, others=others or "nothing")
        stages = {"run": shell} | self.stages
        spec = {stage: {"type": "Command", "args": ["sh", "-euc", text]} for stage, text in stages.items()} | self.sync
        return {"apiVersion": API, "kind": "Sync", "metadata": {"name": f"make-{path}"}, "spec": spec}


def manifests(made: list[Made]) -> str:
    """Return the resources of all assets as one file. JSON is YAML."""
    return "---\n".join(json.dumps(document) + "\n" for asset in made for document in asset.documents())
