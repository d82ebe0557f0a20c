"""Load data/orders.csv into the tables orders and orders_load of sales.db: all of it or nothing, every time anew."""

from __future__ import annotations

import csv
import hashlib
import sqlite3
from decimal import Decimal
from pathlib import Path

SOURCE, DATABASE, LOADED = Path("data/orders.csv"), Path("sales.db"), Path("loaded.sha256")


def main() -> None:
    """Load the file, then note its digest: until that is written, the load does not count."""
    content = SOURCE.read_bytes()
    orders = list(csv.DictReader(content.decode().splitlines()))
    total = sum(int(order["quantity"]) * cents(order) for order in orders)
    connection = sqlite3.connect(DATABASE, timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    for statement in Path("sql/orders.sql").read_text().split(";"):
        connection.execute(statement)
    (now,) = connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 'now')").fetchone()
    connection.executemany(
        "INSERT INTO orders VALUES (:order_id, :ordered_at, :customer, :sku, :quantity, :cents, :now)",
        [order | {"cents": cents(order), "now": now} for order in orders],
    )
    connection.execute("INSERT INTO orders_load VALUES (?, ?, ?)", (len(orders), total, now))
    connection.execute("COMMIT")
    connection.close()
    LOADED.write_text(f"{hashlib.sha256(content).hexdigest()}  {SOURCE}\n")
    print(f"loaded {len(orders)} orders worth {total / 100:.2f}")


def cents(row: dict[str, str]) -> int:
    """Return a row's unit price in cents; sums of those are exact."""
    return int(Decimal(row["unit_price"]) * 100)


if __name__ == "__main__":
    main()
