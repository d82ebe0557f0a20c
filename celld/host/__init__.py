"""The shell of celld: it owns sessions, feeds their cells, commits what they decide and performs the effects."""
