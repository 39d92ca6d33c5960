"""A worker loads a model once, keeps two, and forgets the one that it used least recently."""
from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from sparkq.artifact.file import ModelArtifact
from sparkq.errors import EngineError, InputError
from sparkq.worker import predictor_cache
from sparkq.worker.predictor_cache import PredictorKey, cached_predictor, models_loaded
from tests.models import digits_artifact


class Loads:
    """Hands an artifact out and counts how often."""

    def __init__(self, recipe: str = "static", seconds: float = 0) -> None:
        self.count = 0
        self.recipe, self.seconds = recipe, seconds

    def __call__(self) -> ModelArtifact:
        self.count += 1
        time.sleep(self.seconds)
        return digits_artifact(self.recipe)


def _key(name: str, engine: str = "fbgemm", threads: int | None = None) -> PredictorKey:
    return PredictorKey(name, engine, threads)


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new worker."""
    monkeypatch.setattr(predictor_cache, "_predictors", OrderedDict())


def test_a_key_is_loaded_once() -> None:
    loads, before = Loads(), models_loaded()
    predictors = [cached_predictor(_key("a"), loads) for _ in range(20)]
    assert loads.count == models_loaded() - before == 1
    assert all(predictor is predictors[0] for predictor in predictors)


@pytest.mark.parametrize("other", [_key("b"), _key("a", threads=1)], ids=["file", "threads"])
def test_another_key_is_another_predictor(other: PredictorKey) -> None:
    loads, threads = Loads(), torch.get_num_threads()
    try:
        assert cached_predictor(_key("a"), loads) is not cached_predictor(other, loads)
    finally:
        torch.set_num_threads(threads)
    assert loads.count == 2


def test_the_engine_is_the_keys() -> None:
    int8, floating = Loads(), Loads("none")
    assert cached_predictor(_key("a"), int8).engine.name == "fbgemm"
    assert cached_predictor(_key("a", "float32"), floating).engine.name == "float32"


def test_two_stay_together() -> None:
    """An evaluation asks for the INT8 and the float model in turn, batch after batch."""
    int8, floating = Loads(), Loads("none")
    for _ in range(10):
        cached_predictor(_key("int8"), int8)
        cached_predictor(_key("float", "float32"), floating)
    assert (int8.count, floating.count) == (1, 1)


def test_the_least_recently_used_goes() -> None:
    loads = {name: Loads() for name in "abc"}
    for name in "abac":  # b was used least recently when c comes
        cached_predictor(_key(name), loads[name])
    for name in "ac":
        cached_predictor(_key(name), loads[name])
    assert [loads[name].count for name in "abc"] == [1, 1, 1]
    cached_predictor(_key("b"), loads["b"])
    assert loads["b"].count == 2


def test_a_load_that_fails_is_tried_again() -> None:
    def fails() -> ModelArtifact:
        raise InputError("nothing there")

    with pytest.raises(InputError):
        cached_predictor(_key("a"), fails)
    with pytest.raises(EngineError):
        cached_predictor(_key("a", "float32"), Loads("static"))
    loads = Loads()
    cached_predictor(_key("a"), loads)
    assert loads.count == 1


def test_threads_of_one_worker_load_it_once() -> None:
    loads = Loads(seconds=0.1)
    workers = [threading.Thread(target=cached_predictor, args=(_key("a"), loads)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert loads.count == 1


def test_each_load_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            cached_predictor(_key("a"), Loads())
    [record] = caplog.records
    for word in ("loaded model DigitsNet", digits_artifact().digest[:12], "fbgemm", "golden check", f"pid={os.getpid()}"):
        assert word in record.getMessage()


def test_the_line_reaches_standard_error_of_a_worker(tmp_path: Path) -> None:
    """A Python worker has no logging configured: a real process, and two uses of one model."""
    digits_artifact().save(str(tmp_path / "m.sparkq"))
    script = (
        "from sparkq.artifact.file import ModelArtifact\n"
        "from sparkq.worker.predictor_cache import PredictorKey, cached_predictor, models_loaded\n"
        f"load = lambda: ModelArtifact.load({str(tmp_path / 'm.sparkq')!r})\n"
        "for _ in range(2):\n"
        "    cached_predictor(PredictorKey('a', 'fbgemm', 1), load)\n"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert finished.stderr.count("loaded model DigitsNet") == 1
    assert finished.stdout == ""
