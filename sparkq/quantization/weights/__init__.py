"""Weights as integers: rounding, shared values, pruning."""
