"""The only package that imports pyspark: sources, inference, evaluation, sinks."""
