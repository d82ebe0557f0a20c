"""``setpoint-broker``: the entry point of tier 2. Settings come from the environment; flags win over it."""

from __future__ import annotations

import asyncio
import os

import click

from broker.app import running
from broker.config import Config, from_env
from broker.keys import KeyUnusable
from migrations import door
from setpoint import runtime


@click.command()
@click.option("--listen", help="host:port to listen on (SETPOINT_LISTEN); port 0 takes a free one.")
@click.option("--state-dir", help="Where the signing key is kept (SETPOINT_STATE_DIR).")
def main(listen: str | None, state_dir: str | None) -> None:
    """Admit hosts, place sessions, notice hosts that died."""
    flags = {"SETPOINT_LISTEN": listen, "SETPOINT_STATE_DIR": state_dir}
    config = from_env({**os.environ, **{name: value for name, value in flags.items() if value}})
    runtime.run_daemon("broker", lambda stop: _serve(config, stop))


async def _serve(config: Config, stop: asyncio.Event) -> None:
    why = ""
    try:
        async with running(config):
            runtime.notify_ready()
            await stop.wait()
    except* (KeyUnusable, door.Refused) as group:
        why = "; ".join(str(error) for error in group.exceptions)
    if why:  # what an operator has to repair needs no traceback
        runtime.log().error("broker cannot work here", why=why)
        raise SystemExit(runtime.EXIT_FAILED)


if __name__ == "__main__":
    main()
