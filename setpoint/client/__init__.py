"""A small synchronous client of the gateway's REST and SSE: what the CLI uses and what a script may import."""
