"""What must hold in the log of every session, whatever died: pure rules, for users and for our own checkers."""
