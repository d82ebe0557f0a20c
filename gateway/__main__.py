"""``setpoint-gateway``: the entry point of tier 1. Settings come from the environment; flags win over it."""

from __future__ import annotations

import asyncio
import os

import click

from gateway.app import running
from gateway.config import Config, from_env
from setpoint import runtime


@click.command()
@click.option("--listen", help="host:port to listen on (SETPOINT_LISTEN); port 0 takes a free one.")
@click.option("--state-dir", help="Where the host key and token are kept (SETPOINT_STATE_DIR).")
def main(listen: str | None, state_dir: str | None) -> None:
    """Serve the public API: sessions, commands, events, blobs."""
    flags = {"SETPOINT_LISTEN": listen, "SETPOINT_STATE_DIR": state_dir}
    config = from_env({**os.environ, **{name: value for name, value in flags.items() if value}})
    runtime.run_daemon("gateway", lambda stop: _serve(config, stop))


async def _serve(config: Config, stop: asyncio.Event) -> None:
    async with running(config):
        runtime.notify_ready()
        await stop.wait()


if __name__ == "__main__":
    main()
