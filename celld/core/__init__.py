"""The reconcile core: ``decide`` and ``evolve`` as pure functions over frozen values. No clock, no random, no I/O."""
