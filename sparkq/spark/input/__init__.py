"""Images as DataFrames: sources, the inventory of an input, columns, and who reads the bytes."""
