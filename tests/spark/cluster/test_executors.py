"""How many tasks run at once, and a job that reaches every executor once."""
from __future__ import annotations

import os

from pyspark.sql import SparkSession

from sparkq.spark.cluster.executors import on_every_executor, registered_executors, settings_of, task_slots


def test_a_local_session(spark: SparkSession) -> None:
    """One executor, the driver, whatever the default parallelism is said to be."""
    context = spark.sparkContext
    assert (task_slots(context), registered_executors(context)) == (2, 1)
    assert settings_of(context)["spark.master"] == "local[2]"


def test_each_executor_answers_once(spark: SparkSession) -> None:
    """Though both of its workers were asked; none of it is left on the disk."""
    [answer] = on_every_executor(spark.sparkContext, os.getppid)
    assert answer.result != os.getpid() and str(os.getcwd()) in answer.executor
