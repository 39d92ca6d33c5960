"""A run as it was committed when its manifest's protocol landed, and the script that made it: see `make`."""
