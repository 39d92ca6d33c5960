"""A progress bar for a job, fed by Spark's own status of it: the images that completed tasks have written."""
from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from sparkq.progress_bar import is_watched, new_bar
from sparkq.redaction import get_logger

__all__ = ["shown_progress"]

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 2.0
"""A JVM that takes longer to answer is not waited for when the job is over."""

_logger = get_logger(__name__)


@contextmanager
def shown_progress(spark: SparkSession, images: int, *, progress: bool | None = None) -> Iterator[None]:
    """Show how many images the jobs within have done, how many a second, and the time left. On the driver.

    The bar is on standard error. It counts rows of completed tasks, so that a task that runs twice counts once; the last tasks
    bring the last images. A thread of its own asks Spark, and ends with the job. Whatever becomes of the bar, the job goes on.

    Parameters
    ----------
    spark : SparkSession
        A classic session.
    images : int
        How many there are to do.
    progress : bool, optional
        Whether there is a bar; None: where `is_watched`.
    """
    bar = _new_bar(spark.sparkContext, images, progress)
    if bar is None:
        yield
        return
    java_context: Any = spark.sparkContext._jsc.sc()
    tag, over = f"sparkq-{secrets.token_hex(8)}", threading.Event()
    # What this thread starts, and what `run_action` starts for it, has the tag; the user's job group stays as it is.
    java_context.addJobTag(tag)
    poll = threading.Thread(target=_poll, args=(java_context, tag, bar, over), name="sparkq-progress", daemon=True)
    poll.start()
    try:
        yield
        bar.n = images
    finally:
        over.set()
        poll.join(_PATIENCE_SECONDS)
        # After an interrupt the JVM may be gone; the bar may stand on a terminal that was closed.
        with contextlib.suppress(Exception):
            bar.close()
        with contextlib.suppress(Exception):
            java_context.removeJobTag(tag)


def _new_bar(context: SparkContext, images: int, progress: bool | None) -> Any:
    try:
        if progress is None:
            progress = is_watched(spark_shows=bool(context._jsc.sc().progressBar().isDefined()))
        return new_bar(total=images, desc="images", unit=" images") if progress else None
    except Exception as error:
        _logger.info("no progress bar: %s", error)
        return None


def _poll(java_context: Any, tag: str, bar: Any, over: threading.Event) -> None:
    while not over.wait(_POLL_SECONDS):
        # Of a stage that is about to start Spark knows nothing yet; the next time it will.
        with contextlib.suppress(Exception):
            # When all are done their rate stands: what follows, counting and committing, is not theirs.
            if bar.n < bar.total:
                bar.n = max(bar.n, min(_written(java_context, tag), bar.total))
                bar.refresh()


def _written(java_context: Any, tag: str) -> int:
    """Rows that completed tasks of the tag's jobs have written."""
    tracker, store = java_context.statusTracker(), java_context.statusStore()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForTag(tag)]
    stages = {stage for job in jobs if job.isDefined() for stage in job.get().stageIds()}
    return sum(int(store.lastStageAttempt(stage).outputRecords()) for stage in stages)
