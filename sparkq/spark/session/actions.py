"""Spark actions that Ctrl-C ends cleanly."""
from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from pyspark import SparkContext

__all__ = ["run_action"]

Result = TypeVar("Result")


def run_action(action: Callable[[], Result], *, description: str | None = None) -> Result:
    """Run a blocking Spark action; an interrupt cancels its jobs, no others, waits until they have ended, and goes on.

    With a `description`, that of its jobs in Spark's user interface and status store; else they have the caller's.

    py4j cannot be interrupted while it waits for an answer of the JVM: pyspark's own handler would then talk over the
    very connection that is being read, and break it for everything after. So the action waits in a thread of its own,
    with the job group and pool of the caller's, and a tag of its own to cancel by.
    """
    context = SparkContext.getOrCreate()
    java_context: Any = context._jsc.sc()
    properties = java_context.getLocalProperties().clone()
    tag = f"sparkq-{secrets.token_hex(8)}"

    def in_thread() -> Result:
        java_context.setLocalProperties(properties)
        java_context.addJobTag(tag)
        if description is not None:
            java_context.setJobDescription(description)
        return action()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(in_thread)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():
                # Again and again: an action that was just about to start its job has none to cancel yet.
                # A JVM that has died, too, ends the action.
                with contextlib.suppress(Exception):
                    java_context.cancelJobsWithTag(tag)
                wait([future], timeout=0.2)
            raise
