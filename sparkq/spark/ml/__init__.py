"""Stages for pipelines of pyspark.ml."""
