"""The pure types every tier speaks: ids, limits, problems, events, commands, frames, tokens. No I/O in here."""
