"""Entry point of the cell host: ``setpoint-celld``, or ``python -P -m celld``."""

from __future__ import annotations

import asyncio
import os

from celld.config import from_env
from celld.host.daemon import serve
from setpoint.runtime import run_daemon


def main() -> None:
    """Read the settings and serve until SIGTERM."""
    config = from_env(os.environ)

    async def body(stop: asyncio.Event) -> None:
        await serve(config, stop)

    run_daemon("celld", body)


if __name__ == "__main__":
    main()
