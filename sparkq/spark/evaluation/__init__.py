"""Accuracy, agreement and drift, measured on executors."""
