"""What the gateway asks the database, one file per table family with its SQL beside it."""
