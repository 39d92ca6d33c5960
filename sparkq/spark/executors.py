"""How many tasks a cluster runs at once, and a job that reaches every executor."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from pyspark import SparkContext

from sparkq.spark.actions import run_action
from sparkq.spark.failures import expected_failure

__all__ = [
    "Answer", "asked_executors", "is_dynamic", "is_local", "max_executors", "on_every_executor", "registered_executors",
    "task_cpus", "task_slots",
]

_HELD_SECONDS = (1.0, 3.0, 9.0)
"""A task keeps its slot so long, also if it has nothing to do: else a quick executor would take the others' tasks."""
_PATIENCE_SECONDS = 30.0
"""So long Spark, too, waits by default for the executors that it asked for."""

Result = TypeVar("Result")


class Answer(NamedTuple, Generic[Result]):
    """What one executor answered."""

    executor: str
    result: Result


def task_cpus(context: SparkContext) -> int:
    """Cores that a task is given."""
    return int(context.getConf().get("spark.task.cpus", "1") or 1)


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
    conf, java_context = context.getConf(), context._jsc.sc()
    now = int(java_context.maxNumConcurrentTasks(java_context.resourceProfileManager().defaultResourceProfile()))
    if is_dynamic(context):
        executors = max_executors(context) if growing else None
    else:
        executors = _instances(context)
    if is_local(context):
        executors = None
    return max(now, (executors or 0) * (int(conf.get("spark.executor.cores", "1") or 1) // task_cpus(context)), 1)


def is_local(context: SparkContext) -> bool:
    """Whether the driver is the only executor."""
    return re.match(r"local(\[|$)", str(context.master)) is not None


def is_dynamic(context: SparkContext) -> bool:
    """Whether Spark adds and removes executors."""
    return context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true"


def max_executors(context: SparkContext) -> int | None:
    """The limit of dynamic allocation; None where there is none (Spark's default is ``Int.MaxValue``)."""
    limit = context.getConf().get("spark.dynamicAllocation.maxExecutors", "") or ""
    return int(limit) if limit.isdigit() and int(limit) < 2**31 - 1 else None


def registered_executors(context: SparkContext) -> int:
    """Executors that the driver knows of now; a local session is one."""
    return max(len(context._jsc.sc().statusTracker().getExecutorInfos()) - 1, 1)


def asked_executors(context: SparkContext) -> int:
    """Executors that Spark was asked to start; 1 where nobody said how many, and with dynamic allocation."""
    simulated = re.match(r"local-cluster\[\s*(\d+)", str(context.master))
    if simulated:
        return int(simulated.group(1))
    return 1 if is_dynamic(context) or is_local(context) else max(_instances(context), 1)


def _instances(context: SparkContext) -> int:
    return int(context.getConf().get("spark.executor.instances", "0") or 0)


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
    while registered_executors(context) < asked_executors(context) and time.monotonic() < patience:
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
    path = os.path.join(tempfile.gettempdir(), f"sparkq-{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock")
    with open(path, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
