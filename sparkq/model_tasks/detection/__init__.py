"""Object detection: default boxes, suppression, and the rows that come of a network's raw answers."""
