"""Write data/orders.csv: 1,500 orders of 120 days. The same file every time; run it where it lies.

The numbers come from a small generator of its own, so that no version of Python makes other ones.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

ORDERS = 1_500
DAYS = 120
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
PRODUCTS = (
    ("TEA-GREEN-100", "8.90"),
    ("TEA-BLACK-100", "7.50"),
    ("TEA-OOLONG-50", "12.40"),
    ("POT-CLAY-1L", "34.00"),
    ("POT-GLASS-600", "27.50"),
    ("CUP-SET-4", "19.80"),
    ("FILTER-PAPER-100", "4.20"),
    ("TIN-SMALL", "6.75"),
    ("TIN-LARGE", "9.95"),
    ("WHISK-BAMBOO", "14.30"),
    ("KETTLE-STEEL", "59.00"),
    ("SAMPLER-12", "24.60"),
)
CUSTOMERS = 180


def numbers() -> Iterator[float]:
    """Yield numbers from 0 to below 1: a linear congruential generator, its high bits."""
    state = 20_260_101
    while True:
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        yield (state >> 33) / 2**31


def orders() -> Iterator[tuple[object, ...]]:
    """Yield the orders in the order of their time: more on weekdays, few at night, small quantities mostly."""
    drawn = numbers()
    moments = []
    while len(moments) < ORDERS:
        at = FIRST_DAY + timedelta(days=int(next(drawn) * DAYS))
        if at.weekday() >= 5 and next(drawn) < 0.55:
            continue
        hour = 7 + (next(drawn) + next(drawn) + next(drawn)) / 3 * 16
        moments.append(at + timedelta(seconds=int(hour * 3600)))
    for number, at in enumerate(sorted(moments), 1):
        customer = int(next(drawn) ** 2 * CUSTOMERS) + 1  # some buy often
        sku, price = PRODUCTS[int(next(drawn) * len(PRODUCTS))]
        quantity = 1 + int(next(drawn) ** 3 * 9)
        yield f"SO-{number:05d}", f"{at:%Y-%m-%dT%H:%M:%SZ}", f"C-{customer:04d}", sku, quantity, price


def main() -> None:
    """Write the file."""
    path = Path(__file__).with_name("data") / "orders.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("order_id", "ordered_at", "customer", "sku", "quantity", "unit_price"))
        writer.writerows(orders())


if __name__ == "__main__":
    main()
