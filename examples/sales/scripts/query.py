"""Run one statement on sales.db and print what it gives: for trying what happens when data is changed by hand."""

from __future__ import annotations

import sqlite3
import sys


def main() -> None:
    """Run the statement of the first argument."""
    connection = sqlite3.connect("sales.db", timeout=30)
    for row in connection.execute(sys.argv[1]):
        print(*row, sep="\t")
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main()
