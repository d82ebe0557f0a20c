"""Tier 1: the stateless public edge. It authenticates, admits, enqueues, reads and streams, and owns nothing."""
