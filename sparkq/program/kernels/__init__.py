"""What each operator computes, in NumPy: real numbers in double precision, integers as integers."""
