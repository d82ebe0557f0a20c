"""What celld asks the database: lease, ownership, inbox, log and the group commit, each with its SQL beside it."""
