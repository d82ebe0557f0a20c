"""Setpoint keeps data at its setpoint: what a user installs and types, and the contracts every tier speaks."""
