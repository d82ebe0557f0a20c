"""The program that asks a database file of the workspace, inside the sandbox: standard library and DuckDB alone."""
