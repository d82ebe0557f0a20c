Feature: A sales database is kept right, whatever happens to its rows

  The project is examples/sales: a file of 1,500 orders is loaded into a database (asset "orders"), added up by day
  ("daily_revenue") and written into a report ("revenue_report"). SQL, Freshness and Command conditions watch it.

  Scenario: The orders are loaded, added up and reported
    Given the sales example is applied and everything is Ready
    Then the database holds 1500 orders worth 79242.85
    And the revenue of 120 days adds up to 79242.85
    And the report ends with "total      1500 orders      79242.85"
    And the conditions of "orders" are of the types "Command, SQL, SQL, SQL, Freshness"

  Scenario: A corrupted row is noticed, the orders are loaded again, and everything below is made anew
    Given the sales example is applied and everything is Ready
    When somebody runs "UPDATE orders SET quantity = -5 WHERE order_id = 'SO-00042'" on the database
    Then "orders" is Drifted, and "quantities-are-positive" says "condition returned false"
    And "no-amount-was-changed" says "condition returned false" as well
    And "orders", "daily_revenue" and "revenue_report" are synced in this order
    And everything is Ready again
    And the database holds 1500 orders worth 79242.85

  Scenario: Orders that are too old are loaded again
    Given the sales example is applied and everything is Ready
    When somebody runs "UPDATE orders SET loaded_at = '2026-01-01T00:00:00Z'" on the database
    And "orders" is evaluated
    Then "orders" is Drifted, and "loaded-today" says "last updated [0-9]+s ago, max age is 86400s"
    And "orders", "daily_revenue" and "revenue_report" are synced in this order
    And everything is Ready again

  Scenario: A table that is gone is made again, and nothing above it is touched
    Given the sales example is applied and everything is Ready
    When somebody runs "DROP TABLE daily_revenue" on the database
    And "daily_revenue" is evaluated
    Then "daily_revenue" is Drifted, and "table-is-there" says "condition returned false"
    And everything is Ready again
    And "orders" was not synced

  Scenario: Without an answer nothing is synced, and the reason is there to be read
    Given the sales example is applied and everything is Ready
    When somebody runs "DROP TABLE orders_load" on the database
    And "daily_revenue" is evaluated
    Then "daily_revenue" comes to no verdict, because "made-of-the-latest-load" says ".*no such table: orders_load"
    And status and explain say so
    When "orders" is synced by hand
    Then everything is Ready again
