"""Resources: what a tenant declares, how it is read, and the compiled set that the core reconciles. Pure, no I/O."""
