"""Whole jobs, as commands, schedulers and notebooks call them. Runs on the driver."""
