"""Rewrites of the float graph before it is calibrated, none of which changes what the model answers."""
