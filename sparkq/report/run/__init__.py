"""The report of a committed run, read from its output without Spark."""
