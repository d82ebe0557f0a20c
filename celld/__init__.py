"""Tier 3, the cell host: owns sessions under leases, forks their cells, commits what they decide, performs it."""
