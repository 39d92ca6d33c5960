"""Spark wraps what happened in pages of Java: find our own sentence in it, or what the machine did to the job."""
from __future__ import annotations

import re
from collections.abc import Iterator

from py4j.protocol import Py4JNetworkError  # type: ignore[import-untyped]
from pyspark import SparkContext

import sparkq.errors
from sparkq.errors import InputError, SparkError, SparkqError

__all__ = ["expected_failure", "machine_failure", "root_message", "write_failure"]

_FULL = "No space left on device"
# `SparkExitCode.OOM`.
_OUT_OF_MEMORY = 52
_NOTHING_LEFT = "nothing of this job counts; run it again."
# What Spark, the JVM and Hadoop say where neither sparkq nor the images are at fault, and what to do.
_CAUSES = (
    (r"OutOfMemoryError|GC overhead limit exceeded", "the JVM ran out of memory",
     "give it more (spark.driver.memory, spark.executor.memory; `sparkq plan` says how much); "),
    (r"Python worker exited unexpectedly|Python worker .*crash", "a Python worker died",
     "most often the kernel or the container ended it for its memory: give executors more (`sparkq plan` says how much); "),
    (r"ExecutorLostFailure|Executor lost|exited caused by one of the running tasks", "an executor was lost",
     "look into its log, most often for its memory (`sparkq plan` says how much it needs); "),
    (r"SparkContext (?:was|is) (?:shut down|stopped)|(?:stopped|because) SparkContext", "Spark was stopped", ""),
    (_FULL, _FULL, "make room where Spark keeps its temporary files (spark.local.dir); "),
)
_REFUSALS = re.compile(
    f".*(?:{_FULL}|Mkdirs failed to create|Permission denied|Operation not permitted|Read-only file system|"
    "AccessControlException|AccessDenied|Access Denied|ParentNotDirectoryException|Not a directory).*"
)


def expected_failure(error: BaseException) -> SparkqError | None:
    """The `SparkqError` that a Python worker raised, or None if it raised something else."""
    found = re.search(r"^\s*(?:[\w.]*: )?sparkq\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)
    kind = getattr(sparkq.errors, found.group(1), None) if found else None
    if found is None or not (isinstance(kind, type) and issubclass(kind, SparkqError)):
        return None
    message, _, hint = found.group(2).partition(" Hint: ")
    return kind(message, hint=hint or None)


def root_message(error: BaseException) -> str:
    """The first line of what Java says of the innermost cause, or of the error itself."""
    cause = getattr(error, "java_exception", None)
    while cause is not None and cause.getCause() is not None:
        cause = cause.getCause()
    text = str(error if cause is None else cause.getMessage()).strip()
    return text.partition("\n")[0].rstrip(".") or type(error).__name__


def write_failure(error: BaseException, output: str) -> SparkqError | None:
    """The expected error for what ended the writing of predictions to `output`, or None if it is something else."""
    refusal = None if isinstance(error, SparkqError) else _REFUSALS.search(str(error))
    if refusal is None:
        return expected_failure(error)
    if _FULL in refusal[0]:
        return InputError(
            f"output {output}: expected room for the predictions; got {_FULL}.",
            hint="nothing of this run is left there; make room and run it again.",
        )
    return InputError(
        f"output {output}: expected a place where the executors may write; got {refusal[0].strip()[:300]}.",
        hint="nothing of this run is left there; check the rights of the user that Spark runs as.",
    )


def machine_failure(error: BaseException) -> SparkError | None:
    """The error for what the machine or the cluster did to Spark, or None: what is left may be sparkq's own fault.

    Parameters
    ----------
    error : BaseException
        What came out of Spark, or what followed from it.
    """
    causes = list(_chain(error))
    if any(isinstance(cause, SparkqError) for cause in causes):
        return None
    for pattern, what, hint in _CAUSES:
        if any(re.search(pattern, str(cause)) for cause in causes):
            return _ended(what, hint)
    if any("JAVA_GATEWAY_EXITED" in str(cause) for cause in causes):
        return SparkError(
            "Spark: expected its JVM to start; got one that ended at once.",
            hint="standard error above has what Java said; `java -version` shows whether it runs at all.",
        )
    if _exit_code_of_jvm() == _OUT_OF_MEMORY:
        return _ended("the JVM ran out of memory", _CAUSES[0][2])
    if _exit_code_of_jvm() is not None or any(isinstance(cause, (Py4JNetworkError, ConnectionRefusedError)) for cause in causes):
        return SparkError(
            "Spark: expected its JVM to run until the job has ended; got none any more.",
            hint=f"was it killed, or its container? For memory, give it more (spark.driver.memory); {_NOTHING_LEFT}",
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it followed from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _ended(what: str, hint: str) -> SparkError:
    return SparkError(f"Spark: expected it to run until the job has ended; got: {what}.", hint=f"{hint}{_NOTHING_LEFT}")


def _exit_code_of_jvm() -> int | None:
    """The exit code of a JVM that this process started; None while it runs."""
    process = getattr(SparkContext._gateway, "proc", None)
    code: int | None = None if process is None else process.poll()
    return code
