"""Every exception that sparkq raises on purpose.

::

    SparkqError                  an expected failure: one sentence, a hint, exit code 1
    ├── ConfigError              an option, a config key or a value is wrong
    ├── InputError               what was handed in (path, table, column, labels) cannot be used
    ├── GateError                no recipe is as accurate as asked
    ├── ModelError               a float model cannot be built, filled with weights, traced or quantized
    ├── ArtifactError            a ``.sparkq`` file cannot be used
    │   ├── ArtifactFormatError      truncated, or not an artifact at all
    │   ├── ArtifactProtocolError    written by another protocol of sparkq
    │   └── ArtifactDigestError      its payload is not the one its manifest names
    ├── EngineError              this node cannot run the engine, or runs it wrongly
    ├── SparkError               Spark cannot be started, or ended under the job
    ├── RunTakenError            another attempt of the same run id has committed it: the work is done
    ├── ErrorBudgetError         more images failed than allowed; everything is committed
    └── ImageError               one image cannot become pixels; becomes a row, never a failed task

A message says thing, place, what was expected and what was found; ``hint`` says the next action. Neither holds credentials:
`sparkq.redaction` takes them out.
"""
from __future__ import annotations

from typing import Any

from sparkq.error_codes import ErrorCode
from sparkq.redaction import shown
from sparkq.visible import visible

__all__ = [
    "ArtifactDigestError",
    "ArtifactError",
    "ArtifactFormatError",
    "ArtifactProtocolError",
    "ConfigError",
    "EngineError",
    "ErrorBudgetError",
    "GateError",
    "ImageError",
    "InputError",
    "ModelError",
    "RunTakenError",
    "SparkError",
    "SparkqError",
    "last_line",
    "one_line",
]


class SparkqError(Exception):
    """Base of all expected failures.

    Parameters
    ----------
    message : str
        One sentence: thing, place, expected, got.
    hint : str, optional
        The next action, without the word "Hint".
    """

    exit_code = 1
    """Exit code of a command that ends with this error; what the codes mean stands in `sparkq.cli.boundary`."""

    is_sentence = True
    """Whether the message is one line."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = shown(message)
        self.hint = None if hint is None else shown(hint)
        if self.is_sentence:
            # A file may be called so that the rest of its name looks like a line of its own.
            self.message = self.message.replace("\n", "\\x0a")
        super().__init__(self.message)

    def __str__(self) -> str:
        # Interpreters and notebooks print it as it is.
        return visible(f"{self.message} Hint: {self.hint}" if self.hint else self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only arguments do not survive pickle by default, and these cross process borders.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[SparkqError], message: str, hint: str | None) -> SparkqError:
    return kind(message, hint=hint)


class ConfigError(SparkqError):
    """An option, a config key or a value is wrong."""


class InputError(SparkqError):
    """A path, table, column or label file cannot be used."""


class ModelError(SparkqError):
    """A float model cannot be built, filled with weights, traced or quantized."""


class GateError(SparkqError):
    """No recipe is as accurate as was asked, so nothing was written; the message holds the table of attempts.

    Parameters
    ----------
    message, hint
        As of `SparkqError`.
    attempts : tuple of sparkq.quantization.gate.GateAttempt
        What was tried.
    """

    is_sentence = False

    def __init__(self, message: str, *, hint: str | None = None, attempts: tuple[Any, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.attempts = attempts


class ArtifactError(SparkqError):
    """A ``.sparkq`` file cannot be used."""


class ArtifactFormatError(ArtifactError):
    """The bytes are truncated or were never an artifact."""


class ArtifactProtocolError(ArtifactError):
    """The artifact was written by a protocol that this version does not read."""


class ArtifactDigestError(ArtifactError):
    """The payload's sha256 differs from the one in the manifest."""


class EngineError(SparkqError):
    """This node cannot run the engine, or its results are not those of the artifact's golden output."""


class SparkError(SparkqError):
    """Spark cannot be started, or it ended under the job: a JVM that died, no memory, workers that were killed."""


class RunTakenError(SparkqError):
    """Another attempt of the same run id has committed it: the work is done, and nothing of this attempt is left."""

    exit_code = 75
    """A scheduler treats it as success: the run is complete, and the next attempt would end with 0 and compute nothing."""


class ErrorBudgetError(SparkqError):
    """More images failed than ``max_error_rate`` allows. Raised after the commit: every row is there.

    Parameters
    ----------
    message, hint
        As of `SparkqError`.
    result : dict
        What the run did, as of one that is within its budget.
    """

    exit_code = 4

    def __init__(self, message: str, *, hint: str | None = None, result: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result or {}


class ImageError(SparkqError):
    """One image cannot become pixels.

    Parameters
    ----------
    code : ErrorCode
        Why. The attribute ``code`` is its value, the row's ``error_code``.
    message : str
        The row's ``error_message``.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: str = code.value
        self._entry = code

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageError, (self._entry, self.message)


def last_line(error: BaseException) -> str:
    """Return the last line of an error's text, which in tracebacks of other libraries says what happened; its kind if empty."""
    return (shown(str(error)).strip() or type(error).__name__).splitlines()[-1]


def one_line(error: BaseException) -> str:
    """Kind and text of an error of another library, in one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(shown(str(error)).split())[:300]}"
