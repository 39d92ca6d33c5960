"""Artifacts as they were written when their protocol landed, and the script that wrote them: see `make`."""
