"""Actions in a thread of their own give what they give in the caller's; `test_predict` interrupts one for real."""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from sparkq.spark.session.actions import run_action
from tests import HANG_SECONDS


def test_result_and_error(spark: SparkSession) -> None:
    """The action's own."""
    assert run_action(spark.range(3).count) == 3
    with pytest.raises(AnalysisException, match="absent"):
        run_action(lambda: spark.table("absent"))


def test_jobs_belong_to_the_callers_group(spark: SparkSession) -> None:
    """Who has named a job group, as notebooks do to show progress or to cancel, finds the jobs in it."""
    context = spark.sparkContext
    context.setJobGroup("mine", "as a notebook does")
    try:
        run_action(spark.range(3).count)
        assert len(context.statusTracker().getJobIdsForGroup("mine")) > 0
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


@pytest.fixture
def terminable() -> Iterator[None]:
    """SIGTERM is an interrupt; pyspark's own SIGINT handler cancels whatever runs in the session."""
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


def test_an_interrupt_cancels_the_actions_own_jobs(spark: SparkSession, terminable: None) -> None:
    """And lets another one's of the same session end."""
    context = spark.sparkContext

    def sleep(seconds: float) -> int:
        return context.parallelize([seconds], 1).map(time.sleep).count()

    def interrupt() -> int:
        while len(context.statusTracker().getActiveJobsIds()) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        return sleep(0.5)

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(sleep, 1.5), pool.submit(interrupt)]
        with pytest.raises(KeyboardInterrupt):
            run_action(lambda: sleep(60))
        assert [other.result(timeout=HANG_SECONDS) for other in others] == [1, 1]
    assert list(context.statusTracker().getActiveJobsIds()) == []
