"""Tier 4: the sandbox host. It runs the steps of runs in isolated namespaces and remembers what it started."""
