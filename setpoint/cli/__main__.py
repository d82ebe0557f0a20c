"""``python -m setpoint.cli``: the same as the ``setpoint`` console script."""

from setpoint.cli.main import main

if __name__ == "__main__":
    main()
