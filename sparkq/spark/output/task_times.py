"""Times of a job's tasks, from Spark's status store. On the driver, after the job.

Accumulators and ``observe()`` count a repeated task twice; the store knows which attempt of each task succeeded. It is there
without the user interface, too. The only public way to it is over HTTP, and only with the user interface: so this goes through
the JVM, and where a vendor's Spark looks otherwise, nothing is known.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pyspark import SparkContext

from sparkq.redaction import get_logger
from sparkq.runs.task_times import TaskTime, TaskTimes

__all__ = ["task_times"]

_logger = get_logger(__name__)

# Events are handled in a thread of the JVM's own.
_WAIT_MILLISECONDS = 10_000
# A task is some 1.2 kB of JSON: one question a page, not six a task, and no page that fills the driver.
_PAGE = 5000
# A stage is tried anew when shuffle files were lost; Spark gives up after four times in a row.
_STAGE_ATTEMPTS = 8


def task_times(context: SparkContext, description: str) -> TaskTimes | None:
    """The tasks of the newest job with `description`; None where Spark does not tell. Never raises for it.

    Spark keeps the newest 100 000 tasks of a stage (``spark.ui.retainedTasks``).
    """
    try:
        return _of_newest_job(context, description)
    # Internals of a JVM: whatever they answer, the rows are computed and are to be committed.
    except Exception as error:
        _logger.info("the times of the tasks are not known: %s: %s", type(error).__name__, " ".join(str(error).split())[:200])
        return None


def _of_newest_job(context: SparkContext, description: str) -> TaskTimes | None:
    java: Any = context._jsc.sc()
    java.listenerBus().waitUntilEmpty(_WAIT_MILLISECONDS)
    store = java.statusStore()
    jobs = store.jobsList(None)
    found = [
        job for job in map(jobs.apply, range(jobs.size()))
        if job.description().isDefined() and job.description().get() == description
    ]
    if not found:
        return None
    job = max(found, key=lambda job: int(job.jobId()))
    stages = job.stageIds()
    # The stage that writes is the last one; those before it shuffled the input.
    stage = max(int(stages.apply(number)) for number in range(stages.size()))
    tasks = [task for attempt in range(_STAGE_ATTEMPTS) for task in _tasks(context, store, stage, attempt)]
    times = [time for time in map(_time, tasks) if time is not None]
    return TaskTimes.of(
        times, tasks=int(job.numCompletedTasks()), failed_attempts=int(job.numFailedTasks()) + int(job.numKilledTasks()),
    )


def _tasks(context: SparkContext, store: Any, stage: int, attempt: int) -> Iterator[dict[str, Any]]:
    jvm: Any = context._jvm
    jackson = jvm.com.fasterxml.jackson
    mapper = jackson.databind.ObjectMapper().registerModule(jackson.module.scala.DefaultScalaModule())
    by_id, all_statuses = jvm.org.apache.spark.status.api.v1.TaskSorting.ID, jvm.java.util.ArrayList()
    offset = 0
    while True:
        page = json.loads(mapper.writeValueAsString(store.taskList(stage, attempt, offset, _PAGE, by_id, all_statuses)))
        yield from page
        offset += _PAGE
        if len(page) < _PAGE:
            return


def _time(task: dict[str, Any]) -> TaskTime | None:
    if task["status"] != "SUCCESS" or task["taskMetrics"] is None:
        return None
    # Spark says nothing of a task that took less than a millisecond.
    milliseconds = task["duration"] or 0
    return TaskTime(
        task=task["index"], executor=f"{task['executorId']} on {task['host']}", started=task["launchTime"] / 1000,
        seconds=milliseconds / 1000, rows=task["taskMetrics"]["outputMetrics"]["recordsWritten"],
    )
