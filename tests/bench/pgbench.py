"""pgbench doing single-row inserts of events on the stack's own server: what Postgres does without Setpoint.

The table has the columns, partitions, checks and indexes of the log. pgbench comes with the embedded Postgres.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from migrations import named
from migrations.door import connect
from setpoint.local.postgres import ADMIN
from tests.acceptance.harness import World
from tests.bench.processes import cpu_s
from tests.bench.report import middle

_SQL = named.beside(__file__)
_DATABASE = "setpoint"


@dataclass(frozen=True)
class Inserted:
    """What pgbench did: transactions, each one event, a second, the median of one, and CPU time of one by part."""

    per_s: float
    p50_ms: float
    cpu_us: dict[str, float]


class Pgbench:
    """pgbench on the server of a stack. ``prepare`` once, then ``insert`` as often as wanted."""

    def __init__(self, stack: World) -> None:
        cluster = stack.stack.cluster
        assert cluster is not None and cluster.pid is not None, "the stack has a Postgres of its own"
        self._stack, self._cluster = stack, cluster
        self._program = Path(os.readlink(f"/proc/{cluster.pid}/exe")).parent / "pgbench"
        self._turns = 0

    def prepare(self) -> None:
        """Make the table."""
        self._stack.run(self._make())

    async def _make(self) -> None:
        async with connect(await self._cluster.ensure_database(_DATABASE)) as connection:
            await connection.execute(_SQL["table"])

    def insert(self, clients: int, seconds: int, data_bytes: int) -> Inserted:
        """Insert rows whose data has about ``data_bytes`` bytes of text, from ``clients`` connections."""
        self._turns += 1
        place = self._stack.root / f"pgbench-{self._turns}"
        place.mkdir()
        (place / "script.sql").write_text(_SQL["script"].replace(":session", f"({self._turns} * 1000 + :client_id)"))
        before = self._cpu()
        text = "x" * max(0, data_bytes - len('{"text": ""}'))
        said = subprocess.run(
            [
                *(str(self._program), "--no-vacuum", "--protocol=prepared", "--file=script.sql"),
                *(f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}"),
                *("--define=seq=0", f"--define=text={text}", "--log", "--log-prefix=took"),
                *("--host=127.0.0.1", f"--port={self._cluster.port}", f"--username={ADMIN}", _DATABASE),
            ],
            cwd=place,
            env={"PGPASSFILE": str(self._password()), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        per_s = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
        assert per_s, said
        took = [int(line.split()[2]) for log in place.glob("took.*") for line in log.read_text().splitlines()]
        cpu_us = {part: (spent - before[part]) / len(took) * 1e6 for part, spent in self._cpu().items()}
        return Inserted(float(per_s[1]), middle(took) / 1000, cpu_us)

    def _cpu(self) -> dict[str, float]:
        """Return the CPU seconds so far of the server, and of pgbench and whoever else has ended here."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert self._cluster.pid is not None
        return {"postgres": cpu_s([self._cluster.pid]), "pgbench": ended.ru_utime + ended.ru_stime}

    def _password(self) -> Path:
        path = self._stack.root / "pgpass"
        if not path.exists():
            path.touch(0o600)
            password = (self._stack.root / "postgres" / "admin.password").read_text().strip()
            path.write_text(f"*:*:*:*:{password}\n")
        return path
