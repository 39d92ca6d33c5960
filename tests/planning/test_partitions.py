"""How a job is cut: bounds that hold for every job."""
from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkq.planning.partitions import (
    ImageCost,
    expected_files,
    expected_seconds,
    images_an_arrow_batch,
    planned_tasks,
    row_bytes,
    scan_settings,
)

COUNTS, SECONDS, SLOTS = st.integers(1, 10**9), st.floats(1e-5, 30), st.integers(1, 10_000)


@settings(deadline=None)
@given(COUNTS, SECONDS, SLOTS)
def test_tasks_are_neither_too_few_nor_too_many(images: int, seconds: float, slots: int) -> None:
    """At least two a slot, at least an image each, and of 20 to 60 s (more only where one image takes more)."""
    tasks = planned_tasks(images, seconds_per_image=seconds, slots=slots)
    assert min(2 * slots, images) <= tasks <= images
    most = math.ceil(images / tasks) * seconds
    assert most <= 60 or seconds > 20
    if tasks > 2 * slots:
        assert images * seconds / tasks >= 20 or tasks == images or images * seconds / (tasks - 1) > 40


@settings(deadline=None)
@given(COUNTS, SECONDS, SLOTS)
def test_the_last_round_is_not_a_task_alone(images: int, seconds: float, slots: int) -> None:
    """Where tasks stay long enough, rounds are whole."""
    tasks = planned_tasks(images, seconds_per_image=seconds, slots=slots)
    whole = math.ceil(tasks / slots) * slots
    assert tasks == whole or tasks == images or images * seconds / whole < 20


@pytest.mark.parametrize(("images", "seconds", "slots", "tasks"), [
    (1, 1.0, 8, 1), (15, 0.01, 8, 15), (200, 0.01, 8, 16), (100_000, 0.0016, 2, 4), (10**6, 0.04, 100, 1000), (3000, 1.0, 2, 76),
], ids=["one", "fewer_than_slots", "little_work", "tiny_images", "a_cluster", "slow_model"])
def test_examples(images: int, seconds: float, slots: int, tasks: int) -> None:
    assert planned_tasks(images, seconds_per_image=seconds, slots=slots) == tasks


@settings(deadline=None)
@given(st.floats(1, 1e9), st.floats(1, 1e10))
def test_an_arrow_batch_is_bounded(mean: float, ratio: float) -> None:
    """About 64 MiB of ordinary images, 1 GiB of the largest, and always one."""
    largest = max(mean, ratio)
    rows = images_an_arrow_batch(mean_bytes=mean, largest_bytes=largest)
    assert 1 <= rows <= 10_000
    assert rows == 1 or (rows * mean <= 64 * 2**20 and rows * largest <= 2**30)


def test_batches_of_ordinary_and_of_tiny_images() -> None:
    assert images_an_arrow_batch(mean_bytes=110_000, largest_bytes=400_000) == 610
    assert images_an_arrow_batch(mean_bytes=900, largest_bytes=1100) == 10_000
    assert images_an_arrow_batch(mean_bytes=110_000, largest_bytes=2 * 10**9) == 1


@settings(deadline=None)
@given(COUNTS, st.integers(1, 10**6))
def test_output_files_are_large_or_one_a_task(images: int, tasks: int) -> None:
    """Never more than tasks, never none."""
    assert 1 <= expected_files(images, tasks=tasks) <= tasks


def test_a_hundred_thousand_rows_are_one_file() -> None:
    assert expected_files(100_000, tasks=199) == 1
    assert expected_files(10**9, tasks=7) == 7
    # A million embeddings of 2048 float32 are 8 GB.
    wide = row_bytes("embedding", 2048)
    assert expected_files(10**6, tasks=199, row_bytes=wide) == math.ceil(wide * 10**6 / 2**27) == 62
    assert row_bytes("classification", 1000) < 100
    # MobileNetV1 0.25 on the 250 images of photos_cc_by: 906 bytes with a top_k of 100, 8821 with all 1000 labels.
    assert row_bytes("classification", 1000, top_k=100) == pytest.approx(906, rel=0.15)
    assert row_bytes("classification", 1000, top_k=5000) == pytest.approx(8821, rel=0.15)
    assert row_bytes("detection", 1000, top_k=100) == row_bytes("detection", 1000)


@settings(deadline=None)
@given(COUNTS, SECONDS, SLOTS)
def test_time_is_at_least_the_work_and_at_most_a_round_more(images: int, seconds: float, slots: int) -> None:
    """All slots busy to the end is the best case; one round of tasks more the worst."""
    tasks = planned_tasks(images, seconds_per_image=seconds, slots=slots)
    found = expected_seconds(images, seconds_per_image=seconds, tasks=tasks, slots=slots, start_seconds=3.0)
    work = images * seconds / slots
    assert 3 + work <= found * (1 + 1e-9) and found <= (3 + work + images * seconds / tasks) * (1 + 1e-9)


@settings(deadline=None)
@given(st.floats(1e-5, 10), st.floats(1, 1e9), st.booleans())
def test_a_files_fixed_cost_is_what_its_bytes_do_not_cost(inference: float, mean: float, jvm_reads: bool) -> None:
    """In bytes: what Spark adds to a file's length, so that its partitions take equally long."""
    cost = ImageCost(inference, mean, jvm_reads)
    assert cost.seconds >= inference + cost.decode_seconds and cost.fixed_cost_bytes >= 1 and 0 < cost.preparing_share < 1
    larger = ImageCost(inference, mean + cost.fixed_cost_bytes, jvm_reads)
    assert larger.seconds - cost.seconds == pytest.approx(ImageCost(inference, 0, jvm_reads).seconds, rel=1e-3, abs=1e-7)


def test_scans_are_finer_than_tasks() -> None:
    found = scan_settings(10, file_cost_bytes=7)
    assert found["spark.sql.files.minPartitionNum"] == "40" and found["spark.sql.files.openCostInBytes"] == "7"
