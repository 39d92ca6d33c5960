"""Measured jobs on Spark, and the peers that they are compared with. For development."""
