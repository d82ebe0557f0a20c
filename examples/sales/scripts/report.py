"""Write report.txt, revenue by month, from daily_revenue; with --check only tell whether it says what it should."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

REPORT = Path("report.txt")


def text() -> str:
    """Return the report as it should be now."""
    query = "SELECT substr(day, 1, 7), SUM(orders), SUM(cents) FROM daily_revenue GROUP BY 1 ORDER BY 1"
    connection = sqlite3.connect("file:sales.db?mode=ro", uri=True, timeout=30)
    months = connection.execute(query).fetchall()
    connection.close()
    lines = [f"{month}  {orders:6d} orders  {cents / 100:12.2f}" for month, orders, cents in months]
    total = f"total    {sum(m[1] for m in months):6d} orders  {sum(m[2] for m in months) / 100:12.2f}"
    return "\n".join((*lines, total, ""))


def main() -> int:
    """Write or check; 1 when the report is not there or says something else."""
    wanted = text()
    if "--check" in sys.argv:
        return 0 if REPORT.exists() and REPORT.read_text() == wanted else 1
    part = REPORT.with_suffix(".part")
    part.write_text(wanted)
    part.replace(REPORT)
    print(wanted, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
