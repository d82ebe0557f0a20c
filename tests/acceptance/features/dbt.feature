Feature: A dbt project
  Setpoint reads a dbt project and keeps it right: a model whose tests fail is run, and so is what is made of it.

  Background:
    Given a dbt project with the models "stg_orders", "orders" and "daily_revenue", and all its tests pass

  Scenario: A model whose test fails is run, and then what is made of it
    When the test "unique_stg_orders_order_id" begins to fail
    And "shop.stg_orders" is evaluated
    Then everything is Ready again
    And dbt has run "stg_orders", "orders.v1", "orders.v2" and "daily_revenue", each once

  Scenario: Nothing can be run for a source, so nothing is
    When the test "source_unique_raw_orders_order_id" begins to fail
    And "shop.raw.orders" is evaluated
    Then "shop.raw.orders" is Drifted
    And it was evaluated once and dbt has run nothing
    When the test "source_unique_raw_orders_order_id" passes again
    And "shop.raw.orders" is evaluated
    Then everything is Ready again
