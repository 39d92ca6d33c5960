"""Engines side by side on a small model."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from sparkq.artifact.file import ModelArtifact
from sparkq.benchmark.engines import EAGER, EngineRow, fastest_int8, measure_engines
from sparkq.benchmark.subject import Subject
from sparkq.benchmark.timing import Spread
from sparkq.config import QuantizationConfig
from sparkq.quantization import quantize
from tests.models import SMALL, SmallNet, noise


@pytest.fixture(scope="module")
def subject() -> Subject:
    """INT8, float and the model itself."""
    model = SmallNet().eval()
    int8, floating = (
        quantize(model, calibration=noise(4), preprocess=SMALL, config=QuantizationConfig(recipe=recipe))
        for recipe in ("static", "none")
    )
    return Subject("SmallNet", SMALL, int8=int8, floating=floating, model=model)


def test_every_engine_has_a_row(subject: Subject) -> None:
    """At each batch size; the eager model is the baseline of all ratios, and 1 against itself."""
    rows = measure_engines(
        subject, np.stack(noise(2)), batch_sizes=(1, 3), engines=("fbgemm", "float32"), rounds=2, seconds=0.001,
    )
    assert [(row.engine, row.batch_size) for row in rows] == [
        (engine, size) for size in (1, 3) for engine in (EAGER, "float32", "fbgemm")
    ]
    for row in rows:
        assert row.error is None and row.baseline == EAGER
        assert row.images_per_second is not None and row.ratio is not None and row.latency is not None
        assert 0 < row.images_per_second.low <= row.images_per_second.median <= row.images_per_second.high
        assert 0 < row.latency.p50 <= row.latency.p90 <= row.latency.p99 and row.latency.passes >= 6
        assert (row.ratio == Spread(1.0, 1.0, 1.0, 2)) == (row.engine == EAGER)
    assert fastest_int8(rows, 3) == "fbgemm"
    assert torch.get_num_threads() == 1


def test_an_engine_that_cannot_run_says_why(subject: Subject) -> None:
    """And the others run."""
    assert subject.int8 is not None
    broken = ModelArtifact(subject.int8.manifest, b"no archive")
    rows = measure_engines(
        Subject("broken", SMALL, int8=broken, floating=subject.floating), np.stack(noise(2)), batch_sizes=(2,),
        engines=("float32", "fbgemm"), rounds=1, seconds=0.001,
    )
    assert [(row.engine, row.error is None) for row in rows] == [("float32", True), ("fbgemm", False)]
    assert rows[1].error and rows[1].images_per_second is None
    assert rows[0].baseline == "float32"
    assert fastest_int8(rows, 2) is None


def test_nothing_runs(subject: Subject) -> None:
    """All rows say why."""
    assert subject.int8 is not None
    broken = Subject("broken", SMALL, int8=ModelArtifact(subject.int8.manifest, b"no archive"))
    rows = measure_engines(broken, np.stack(noise(1)), batch_sizes=(1,), engines=("fbgemm",), rounds=1, seconds=0)
    assert [row.error is None for row in rows] == [False]


def test_the_fastest_is_of_the_asked_batch_size() -> None:
    """Float engines do not count."""
    def row(engine: str, batch_size: int, speed: float) -> EngineRow:
        return EngineRow(engine, batch_size, None, Spread(speed, speed, speed, 1))

    rows = [row("float32", 16, 9.0), row("fbgemm", 16, 3.0), row("x86", 16, 4.0), row("fbgemm", 1, 8.0)]
    assert fastest_int8(rows, 16) == "x86" and fastest_int8(rows, 1) == "fbgemm" and fastest_int8(rows, 2) is None
