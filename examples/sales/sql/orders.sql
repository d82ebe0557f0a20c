-- The tables that scripts/load.py fills. orders_load has one row: what the file held that orders was loaded from.
DROP TABLE IF EXISTS orders;
DROP TABLE IF EXISTS orders_load;

CREATE TABLE orders (
    order_id         TEXT PRIMARY KEY,
    ordered_at       TEXT NOT NULL,
    customer         TEXT NOT NULL,
    sku              TEXT NOT NULL,
    quantity         INTEGER NOT NULL,
    unit_price_cents INTEGER NOT NULL,
    loaded_at        TEXT NOT NULL
);

CREATE TABLE orders_load (
    rows      INTEGER NOT NULL,
    cents     INTEGER NOT NULL,
    loaded_at TEXT NOT NULL
);
