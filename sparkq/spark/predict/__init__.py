"""Predictions on DataFrames, RDDs and in SQL, and how a job is cut into tasks."""
