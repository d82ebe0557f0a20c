"""Make the table daily_revenue of sales.db from orders, in one transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def main() -> None:
    """Run sql/daily_revenue.sql and say how many days there are."""
    connection = sqlite3.connect("sales.db", timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    for statement in Path("sql/daily_revenue.sql").read_text().split(";"):
        connection.execute(statement)
    (days,) = connection.execute("SELECT COUNT(*) FROM daily_revenue").fetchone()
    connection.execute("COMMIT")
    connection.close()
    print(f"revenue of {days} days")


if __name__ == "__main__":
    main()
