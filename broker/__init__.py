"""Tier 2, the control plane: it admits hosts, says where to place a session, and notices hosts that died.

Never in a session's or a command's data path: everything goes on without it (architecture.md section 5).
"""
