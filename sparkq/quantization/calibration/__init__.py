"""Calibration: the images that a model is observed on, and what is counted while it looks at them."""
