"""The drivers that run one step apart from everything else, behind one small interface."""
