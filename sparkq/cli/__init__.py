"""The ``sparkq`` command; ``jobs/`` hand their arguments to the same `main`."""
from sparkq.cli.main import main

__all__ = ["main"]
