"""A cell or sandbox host reduced to what a broker sees of one: its link, and the answer of its ``/healthz``.

Run as a process by the tests: ``python fake_host.py DIRECTORY HOST ROLE BROKER JOIN_TOKEN LINKED``. It prints one line
of JSON when it serves, and again when it is admitted. It runs until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

from aiohttp import web

from setpoint import runtime
from setpoint.brokerlink import BrokerLink
from setpoint.contracts.hint import Role
from setpoint.identity import Identity
from setpoint.web import add_health, serve_app


async def main(directory: str, host: str, role: str, broker: str, join_token: str, linked: str) -> None:
    identity = Identity(Path(directory), host, cast(Role, role))
    app = web.Application()

    async def ready() -> list[str]:
        return []

    add_health(app, lambda: {"host": host, "incarnation": identity.incarnation}, ready)
    _, port = await serve_app(app, "127.0.0.1", 0)
    address = f"127.0.0.1:{port}"
    facts = {"address": address, "incarnation": identity.incarnation, "public_key": identity.public_key}
    print(json.dumps(facts), flush=True)
    link = BrokerLink(
        identity,
        [broker],
        join_token=join_token,
        address=address,
        ledger_id=runtime.new_id(),
        capacity=lambda: {"running": 0, "slots": 4},
    )
    async with asyncio.TaskGroup() as tasks:
        if linked == "yes":
            tasks.create_task(link.run())
            await link.admitted.wait()
            print(json.dumps({"admitted": True}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
