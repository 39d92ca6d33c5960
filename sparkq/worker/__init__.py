"""Batches in, rows out: what a Python worker does with its partition. No Spark here."""
