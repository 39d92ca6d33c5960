"""When the tasks of a run were at work and how fast, summed up so that 100 000 tasks take no more room than 100."""
from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SlowTask", "TaskTime", "TaskTimes", "TimeBins"]

_SLOWEST = 20
_MOST_BINS = 60
_BIN_SECONDS = tuple(
    step * unit for unit, steps in ((0.01, (1, 2, 5, 10, 20, 50)), (1, (1, 2, 5, 10, 15, 30)), (60, (1, 2, 5, 10, 15, 30)))
    for step in steps
)
_HOUR = 3600


@dataclass(frozen=True)
class TaskTime:
    """The attempt of a task whose rows count.

    Parameters
    ----------
    task : int
        Its index in the stage.
    executor : str
        Which ran it, and on which host.
    started : float
        Seconds since 1970, UTC, by the driver's clock.
    seconds : float
        From its launch to its end.
    rows : int
        That it wrote.
    """

    task: int
    executor: str
    started: float
    seconds: float
    rows: int


@dataclass(frozen=True)
class SlowTask:
    """A task that took long: as `TaskTime`, with its start in seconds since the first task's."""

    task: int
    executor: str
    started: float
    seconds: float
    rows: int


@dataclass(frozen=True)
class TimeBins:
    """The time from the first task's start to the last one's end, cut into equal bins.

    Parameters
    ----------
    seconds : float
        Length of a bin; the last may be cut short.
    rows : tuple of float
        Rows computed in each, as if every task worked evenly.
    ended : tuple of int
        Tasks that ended in each.
    lowest, median, highest : tuple of float or None
        Rows a second of those tasks; None where none ended, or none with rows.
    """

    seconds: float
    rows: tuple[float, ...]
    ended: tuple[int, ...]
    lowest: tuple[float | None, ...]
    median: tuple[float | None, ...]
    highest: tuple[float | None, ...]


@dataclass(frozen=True)
class TaskTimes:
    """The times of the tasks that predicted a run's rows, for its manifest.

    Parameters
    ----------
    tasks : int
        How many the stage had.
    measured : int
        Of how many Spark still knew the times when the stage had ended; all that follows is of these.
    failed_attempts : int
        Attempts that failed or were killed, and whose rows do not count.
    rows : int
        That the measured tasks wrote.
    started : str
        When the first one did, ISO 8601, UTC.
    span_seconds : float
        From then to the last one's end.
    busy_seconds : float
        Their durations, added up.
    shortest_seconds, median_seconds, longest_seconds : float
        Durations.
    slowest : tuple of SlowTask
        At most 20, the longest first.
    bins : TimeBins
        What was computed when.
    """

    tasks: int
    measured: int
    failed_attempts: int
    rows: int
    started: str
    span_seconds: float
    busy_seconds: float
    shortest_seconds: float
    median_seconds: float
    longest_seconds: float
    slowest: tuple[SlowTask, ...]
    bins: TimeBins

    @classmethod
    def of(cls, times: Sequence[TaskTime], *, tasks: int, failed_attempts: int) -> TaskTimes | None:
        """Sum up; of a task that is there twice the first counts. None where no task is known."""
        times = list({time.task: time for time in reversed(times)}.values())
        if not times:
            return None
        first = min(time.started for time in times)
        seconds = np.array([time.seconds for time in times])
        starts = np.array([time.started for time in times]) - first
        rows = np.array([time.rows for time in times], np.float64)
        slowest = sorted(times, key=lambda time: (-time.seconds, time.task))[:_SLOWEST]
        return cls(
            tasks=tasks, measured=len(times), failed_attempts=failed_attempts, rows=int(rows.sum()),
            started=datetime.datetime.fromtimestamp(first, datetime.timezone.utc).isoformat(timespec="milliseconds"),
            span_seconds=_rounded((starts + seconds).max()), busy_seconds=_rounded(seconds.sum()),
            shortest_seconds=_rounded(seconds.min()), median_seconds=_rounded(np.median(seconds)),
            longest_seconds=_rounded(seconds.max()),
            slowest=tuple(
                SlowTask(time.task, time.executor, _rounded(time.started - first), _rounded(time.seconds), time.rows)
                for time in slowest
            ),
            bins=_bins(starts, seconds, rows),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        mapping = asdict(self)
        bins = {key: list(value) if isinstance(value, tuple) else value for key, value in mapping["bins"].items()}
        return {**mapping, "slowest": list(mapping["slowest"]), "bins": bins}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TaskTimes:
        """Rebuild the object from the mapping of `to_mapping`, perhaps by way of JSON."""
        bins: dict[str, Any] = {
            name: tuple(value) if isinstance(value, (list, tuple)) else value for name, value in _known(TimeBins, mapping["bins"])
        }
        slowest = tuple(SlowTask(**dict(_known(SlowTask, task))) for task in mapping["slowest"])
        return cls(**{**dict(_known(cls, mapping)), "slowest": slowest, "bins": TimeBins(**bins)})


def _known(kind: Any, mapping: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The items that are fields of `kind`: a later version may have added others."""
    yield from ((one.name, mapping[one.name]) for one in fields(kind))


def _rounded(value: float) -> float:
    return round(float(value), 3)


def _bin_seconds(span: float) -> float:
    """A round length of which at most `_MOST_BINS` fill `span` seconds."""
    hours = max(1, -(-span // (_MOST_BINS * _HOUR)))
    return next((length for length in _BIN_SECONDS if span <= length * _MOST_BINS), hours * _HOUR)


def _bins(starts: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> TimeBins:
    ends = starts + seconds
    length = _bin_seconds(float(ends.max()))
    count = max(1, int(np.ceil(ends.max() / length)))
    # Rows computed until each edge. A task of no time at all wrote its rows at its start.
    done = [
        float((rows * np.clip((edge * length - starts) / np.maximum(seconds, 1e-9), 0, 1)).sum()) for edge in range(count + 1)
    ]
    where = np.minimum((ends / length).astype(int), count - 1)
    rates = rows / np.maximum(seconds, 1e-3)
    found = [rates[(where == number) & (rows > 0)] for number in range(count)]
    return TimeBins(
        seconds=length, rows=tuple(_rounded(after - before) for before, after in zip(done, done[1:], strict=False)),
        ended=tuple(np.bincount(where, minlength=count).tolist()),
        lowest=tuple(_rounded(rate.min()) if rate.size else None for rate in found),
        median=tuple(_rounded(np.median(rate)) if rate.size else None for rate in found),
        highest=tuple(_rounded(rate.max()) if rate.size else None for rate in found),
    )
