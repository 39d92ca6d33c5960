"""How a job is cut into tasks, what an executor needs for it, and what to warn of: arithmetic, without Spark."""
