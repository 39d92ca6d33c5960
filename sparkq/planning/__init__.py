"""The arithmetic of a job, without Spark: its tasks, the memory of an executor, and reasons to warn."""
