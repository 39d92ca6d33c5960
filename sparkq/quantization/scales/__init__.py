"""Scales and zero points of activations and weights, from what calibration observed."""
