"""Calibration on Spark: which images are taken, and what executors count while the float model looks at them."""
