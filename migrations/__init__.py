"""The schema of Setpoint's database, its roles and functions, and the one door through which Python reaches it."""
