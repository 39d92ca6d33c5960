"""Times of tasks summed up: nothing is lost, nothing counts twice, and many take no more room than few."""
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkq.runs.task_times import TaskTime, TaskTimes

STARTED = 1_750_000_000.0


def task(number: int, started: float, seconds: float, rows: int) -> TaskTime:
    return TaskTime(number, "1 on host", STARTED + started, seconds, rows)


def summed(times: list[TaskTime]) -> TaskTimes:
    found = TaskTimes.of(times, tasks=len(times), failed_attempts=0)
    assert found is not None
    return found


MODEL_TASKS = st.lists(
    st.tuples(st.floats(0, 1e5), st.floats(0, 1e4), st.integers(0, 10**6)), min_size=1, max_size=30,
).map(lambda found: [task(number, *values) for number, values in enumerate(found)])


@given(MODEL_TASKS)
def test_every_row_and_every_task_is_in_one_bin(times: list[TaskTime]) -> None:
    found = summed(times)
    assert sum(found.bins.rows) == pytest.approx(sum(time.rows for time in times), abs=0.05)
    assert sum(found.bins.ended) == found.measured == len(times)
    assert 1 <= len(found.bins.rows) <= 60
    assert found.bins.seconds * (len(found.bins.rows) - 1) <= found.span_seconds + 0.001
    assert found.bins.seconds * len(found.bins.rows) >= found.span_seconds - 0.001


@given(MODEL_TASKS)
def test_through_json(times: list[TaskTime]) -> None:
    """Equal, and the mapping itself is of JSON's types."""
    mapping = summed(times).to_mapping()
    assert json.loads(json.dumps(mapping)) == mapping
    assert TaskTimes.from_mapping(mapping) == summed(times)


def test_two_tasks() -> None:
    """Ten seconds at 10 rows a second; from the fourth on another, at 20."""
    found = summed([task(0, 0, 10, 100), task(1, 4, 4, 80)])
    assert (found.bins.seconds, len(found.bins.rows)) == (0.2, 50)
    assert found.bins.rows == pytest.approx([2.0] * 20 + [6.0] * 20 + [2.0] * 10)
    ended = [(place, found.bins.median[place]) for place, count in enumerate(found.bins.ended) if count]
    assert ended == [(40, 20.0), (49, 10.0)]
    assert (found.span_seconds, found.busy_seconds, found.median_seconds) == (10, 14, 7)
    assert [slow.task for slow in found.slowest] == [0, 1] and found.slowest[1].started == 4
    assert found.started == "2025-06-15T15:06:40.000+00:00"


def test_an_attempt_that_ran_beside_another_counts_once() -> None:
    """The first one's rows are those that count: Spark commits a task once."""
    found = summed([task(0, 0, 10, 100), task(1, 0, 5, 50), task(0, 2, 3, 100)])
    assert (found.measured, found.rows, found.busy_seconds) == (2, 150, 15)


def test_no_task() -> None:
    assert TaskTimes.of([], tasks=0, failed_attempts=0) is None


def test_a_hundred_thousand_tasks_are_few_kilobytes() -> None:
    """And the slowest are exactly those."""
    found = summed([task(number, number / 7, 20 + number * 7919 % 100_000 / 1e4, 50) for number in range(100_000)])
    assert len(json.dumps(found.to_mapping())) < 8000
    assert found.measured == 100_000 and len(found.slowest) == 20
    assert [slow.seconds for slow in found.slowest][:3] == [30.0, 30.0, 30.0] and found.longest_seconds == 30.0
    assert min(slow.seconds for slow in found.slowest) >= 29.998
