"""REST calls to the gateway. Every failure ends as a ``Problem`` with a closed code, whatever went wrong underneath.

The CLI calls this; it retries nothing by itself but what is safe: requests carry an Idempotency-Key, so a caller may
repeat a call after ``unavailable`` without doing anything twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx
import msgspec

from setpoint import runtime
from setpoint.contracts import codec
from setpoint.contracts.limits import PAGE_ITEMS_MAX
from setpoint.contracts.problem import CODES, Fault, Problem

_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
Json = dict[str, Any]


class Client:
    """A client of one gateway for one tenant's key. Use it as a context manager, or call ``close``."""

    def __init__(self, server: str, api_key: str) -> None:
        self.server = server.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self.http = httpx.Client(base_url=self.server, headers=headers, timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def call(self, method: str, path: str, body: object | None = None, **params: object) -> Json:
        """Send one request with a JSON body and return the JSON answer. Raises Problem."""
        headers = {"Idempotency-Key": runtime.new_id()} if method == "POST" else {}
        query = {key: str(value) for key, value in params.items() if value is not None}
        try:
            answer = self.http.request(method, path, json=body, params=query, headers=headers)
        except httpx.HTTPError as error:
            raise Problem("unavailable", f"cannot reach {self.server}: {error}") from error
        if answer.is_success:
            return dict(answer.json()) if answer.content else {}
        raise problem_of(answer)

    def pages(self, path: str, **params: object) -> Iterator[Json]:
        """Yield every item of a paged list, in order."""
        after: object | None = params.pop("after", None)
        while True:
            page = self.call("GET", path, limit=PAGE_ITEMS_MAX, after=after, **params)
            yield from page["items"]
            after = page.get("next")
            if not after:
                return

    def session(self, name: str) -> Json:
        """Return a session by id or name. Raises Problem not-found."""
        return self.call("GET", f"/v1/sessions/{name}")

    def create_session(self, name: str | None = None) -> Json:
        """Create a session. Raises Problem conflict when the name is taken."""
        return self.call("POST", "/v1/sessions", {"name": name} if name else {})

    def command(self, session: str, kind: str, payload: Json) -> Json:
        """Enqueue a command; returns ``{command_id, status, ...}`` at once, before it has any effect."""
        return self.call("POST", f"/v1/sessions/{session}/commands", {"type": kind, "payload": payload})

    def command_state(self, session: str, command_id: str) -> Json:
        """Return a command with its status and, when it has ended, its result."""
        return self.call("GET", f"/v1/sessions/{session}/commands/{command_id}")

    def events_page(self, session: str, after: int, limit: int = PAGE_ITEMS_MAX) -> list[Json]:
        """Return the events after a seq, oldest first."""
        page = self.call("GET", f"/v1/sessions/{session}/events", after=after, limit=limit)
        return list(page["items"])

    def put_blob(self, content: bytes) -> str:
        """Store bytes under their sha256 (not sent again when the gateway has them) and return it."""
        sha256 = codec.sha256_hex(content)
        path = f"/v1/blobs/{sha256}"
        try:
            if self.http.head(path).status_code == 200:
                return sha256
            kind = {"Content-Type": "application/octet-stream"}
            answer = self.http.put(path, content=content, headers=kind)
        except httpx.HTTPError as error:
            raise Problem("unavailable", f"cannot reach {self.server}: {error}") from error
        if not answer.is_success:
            raise problem_of(answer)
        return sha256

    def blob(self, sha256: str) -> bytes:
        """Return the bytes of a stored blob. Raises Problem not-found, and internal when they are other bytes."""
        try:
            answer = self.http.get(f"/v1/blobs/{sha256}")
        except httpx.HTTPError as error:
            raise Problem("unavailable", f"cannot reach {self.server}: {error}") from error
        if not answer.is_success:
            raise problem_of(answer)
        if codec.sha256_hex(answer.content) != sha256:
            raise Problem("internal", f"the blob {sha256} came with other bytes")
        return answer.content

    def output(self, session: str, execution: str, step: int, stream: str, offset: int) -> tuple[bytes, int, bool]:
        """Read output of one step from a byte offset: ``(content, next offset, whether that was all)``."""
        path = f"/v1/sessions/{session}/executions/{execution}/output"
        params: dict[str, str | int] = {"step": step, "stream": stream, "offset": offset}
        try:
            answer = self.http.get(path, params=params)
        except httpx.HTTPError as error:
            raise Problem("unavailable", f"cannot reach {self.server}: {error}") from error
        if not answer.is_success:
            raise problem_of(answer)
        next_offset = int(answer.headers.get("Setpoint-Next-Offset", offset + len(answer.content)))
        return answer.content, next_offset, answer.headers.get("Setpoint-Eof", "true") == "true"


def problem_of(answer: httpx.Response) -> Problem:
    """Turn an error answer into a Problem; an answer that is no problem document becomes ``internal``."""
    try:
        body = msgspec.json.decode(answer.read())
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict) or body.get("code") not in CODES:
        return Problem(
            "internal", f"HTTP {answer.status_code} from {answer.request.url.path}, which is no problem document"
        )
    faults = [msgspec.convert(fault, Fault, strict=False) for fault in body.get("errors", [])]
    retry_after = answer.headers.get("Retry-After", "")
    return Problem(
        body["code"],
        body.get("detail", ""),
        errors=faults,
        retry_after_s=int(retry_after) if retry_after.isdigit() else None,
    )
