-- Revenue and number of orders by day, made anew from all orders.
DROP TABLE IF EXISTS daily_revenue;

CREATE TABLE daily_revenue AS
SELECT substr(ordered_at, 1, 10)        AS day,
       COUNT(*)                         AS orders,
       SUM(quantity * unit_price_cents) AS cents,
       MAX(loaded_at)                   AS loaded_at
FROM orders
GROUP BY day
ORDER BY day;
