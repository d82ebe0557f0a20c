"""The all-in-one stack on one machine: Postgres, the daemons, and what they stand on."""
