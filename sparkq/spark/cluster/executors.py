"""How many tasks a cluster runs at once, and a job that reaches every executor."""
from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from pyspark import SparkContext

from sparkq.engines.private_directory import hold_lock, private_temporary_directory
from sparkq.planning.cluster import asked_executors, attainable_slots
from sparkq.spark.session.actions import run_action
from sparkq.spark.session.failures import expected_failure

__all__ = ["Answer", "on_every_executor", "registered_executors", "settings_of", "task_slots"]

_HELD_SECONDS = (1.0, 3.0, 9.0)
"""A task keeps its slot so long, also if it has nothing to do: else a quick executor would take the others' tasks."""
_PATIENCE_SECONDS = 30.0
"""So long Spark, too, waits by default for the executors that it asked for."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """The answer of one executor."""

    executor: str
    result: Result


def settings_of(context: SparkContext) -> dict[str, str]:
    """Those that were set, as `sparkq.planning.cluster` takes them."""
    return dict(context.getConf().getAll())


def task_slots(context: SparkContext, *, growing: bool = True) -> int:
    """Tasks that the cluster runs at once: now, or once all executors that were asked for are there. On the driver.

    ``defaultParallelism`` says less: it counts cores, only of executors that have come, and a user may set it.

    Parameters
    ----------
    context : SparkContext
        Whose cluster.
    growing : bool
        Whether those count, too, that dynamic allocation may add.
    """
    java_context = context._jsc.sc()
    now = int(java_context.maxNumConcurrentTasks(java_context.resourceProfileManager().defaultResourceProfile()))
    return attainable_slots(settings_of(context), now=now, growing=growing)


def registered_executors(context: SparkContext) -> int:
    """Executors that the driver knows of now; a local session is one."""
    return max(len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1, 1)


def on_every_executor(context: SparkContext, function: Callable[[], Result]) -> tuple[Answer[Result], ...]:
    """Run `function` once on every executor that is there, when those that were asked for have come. On the driver.

    Barrier tasks would be sure to run at once, but Spark refuses them with dynamic allocation. So as many tasks as there are
    slots take all of them, and hold them for a while; if an executor had none, they do it again and hold them longer.

    Parameters
    ----------
    context : SparkContext
        Where.
    function : callable
        Runs in a Python worker, while the executor's other workers wait; its result is pickled.

    Returns
    -------
    tuple of Answer
        By host. Fewer than `registered_executors` if other jobs held all slots of one.

    Raises
    ------
    SparkqError
        What `function` raised of it.
    """
    patience = time.monotonic() + _PATIENCE_SECONDS
    asked = asked_executors(settings_of(context))
    while registered_executors(context) < asked and time.monotonic() < patience:
        time.sleep(0.1)
    answers: dict[str, Answer[Result]] = {}
    for seconds in _HELD_SECONDS:
        slots = task_slots(context, growing=False)
        tasks = context.parallelize(range(slots), slots)
        asking = tasks.mapPartitions(partial(_answer, function=function, seconds=seconds, job=uuid.uuid4().hex))
        try:
            found = run_action(asking.collect)
        # Of an RDD's action it is py4j's error, which differs from version to version.
        except Exception as error:
            raise expected_failure(error) or error from error
        answers = {**{answer.executor: answer for answer in found}, **answers}
        if len(answers) >= registered_executors(context):
            break
    return tuple(answer for _, answer in sorted(answers.items()))


def _answer(_: Iterable[int], *, function: Callable[[], Result], seconds: float, job: str) -> Iterator[Answer[Result]]:
    until = time.monotonic() + seconds
    executor = _executor_name()
    with _first_of(f"{job}-{executor}") as first:
        answer = Answer(executor, function()) if first else None
        time.sleep(max(until - time.monotonic(), 0))
    if answer is not None:
        yield answer


def _executor_name() -> str:
    """Host and process id of the JVM, whose child the daemon is that forks workers; containers may share both, but no folder."""
    with open(f"/proc/{os.getppid()}/stat", encoding="utf-8") as stat:
        # The name in parentheses may hold anything.
        jvm = stat.read().rpartition(")")[2].split()[1]
    return f"{socket.gethostname()} {jvm} {os.getcwd()}"


@contextlib.contextmanager
def _first_of(name: str) -> Iterator[bool]:
    """Whether this process is the first on its machine to take `name`; it keeps it until the end."""
    directory = private_temporary_directory()
    if directory is None:
        # Every process answers then, and the driver keeps one answer an executor.
        yield True
        return
    lock = f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"
    with hold_lock(directory, lock, wait=False) as is_first:
        try:
            yield is_first
        finally:
            if is_first:
                with contextlib.suppress(OSError):
                    os.unlink(directory / lock)
