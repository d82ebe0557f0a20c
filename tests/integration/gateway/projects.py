"""Projects as a client applies them: files into blobs, blobs into a payload."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx

HEAD = "apiVersion: setpoint.dev/v1alpha1\n"


def asset(name: str, *upstreams: str) -> str:
    """One asset with its condition and sync, as one file of three documents."""
    listed = f"  upstreams: [{', '.join(upstreams)}]\n" if upstreams else ""
    return (
        f"{HEAD}kind: Asset\nmetadata:\n  name: {name}\nspec:\n{listed}"
        f"  onDrift:\n    - conditions: {name}-there\n      sync: {name}-make\n"
        f"---\n{HEAD}kind: Conditions\nmetadata:\n  name: {name}-there\nspec:\n"
        f"  - name: there\n    type: Command\n    run: [test, -f, {name}]\n"
        f"---\n{HEAD}kind: Sync\nmetadata:\n  name: {name}-make\nspec:\n"
        f"  run:\n    type: Command\n    args: [touch, {name}]\n"
    )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def put(api: httpx.AsyncClient, content: bytes) -> str:
    """Store a blob and return its name."""
    name = sha256(content)
    answer = await api.put(f"/v1/blobs/{name}", content=content)
    assert answer.status_code in (200, 201), answer.text
    return name


async def payload(api: httpx.AsyncClient, files: dict[str, bytes | str]) -> dict[str, Any]:
    """Store all files and return the payload that applies them."""
    encoded = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    return {"files": [{"path": path, "mode": 0o644, "sha256": await put(api, body)} for path, body in encoded.items()]}


async def apply(api: httpx.AsyncClient, session: str, files: dict[str, bytes | str]) -> httpx.Response:
    """Store all files and post the command that applies them."""
    body = {"type": "apply", "payload": await payload(api, files)}
    return await api.post(f"/v1/sessions/{session}/commands", json=body)
