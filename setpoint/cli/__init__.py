"""The ``setpoint`` command: one file per noun. It speaks to a gateway and nothing else, but for ``up`` and ``demo``."""
