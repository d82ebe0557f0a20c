"""What a sandbox host computes without touching anything: order of steps, sandbox plan, output budget, admission."""
