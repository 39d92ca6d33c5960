"""The fastest engine of a node: only among those that are right, measured once, whatever becomes of the cache."""
from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sparkq.artifact.file import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.engines.base import Engine, LoadOptions
from sparkq.engines.registry import spec_of
from sparkq.engines.torch_int8 import load_fbgemm
from sparkq.errors import EngineError
from sparkq.quantization import quantize
from sparkq.worker.engine_choice import EngineChoice, choose_engine, settled_batch_size
from tests.models import SMALL, SmallNet, digits_artifact, float_artifact, noise

OPENVINO = importlib.util.find_spec("openvino") is not None
TORCH_ENGINES = ["fbgemm", "x86", "onednn"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node that has measured nothing."""
    monkeypatch.setenv("SPARKQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def int8() -> ModelArtifact:
    """A small static artifact."""
    return quantize(SmallNet(), calibration=noise(4), preprocess=SMALL)


def _engines(choice: EngineChoice) -> list[str]:
    return list(dict.fromkeys(one.engine for one in choice.measurements))


class TestMeasured:
    """Real engines on a trained model."""

    def test_every_installed_engine_is_measured(self) -> None:
        choice = choose_engine(digits_artifact(), batch_size=4)
        assert set(_engines(choice)) | set(choice.refused) == {*TORCH_ENGINES, "openvino"}
        assert "openvino" in (_engines(choice) if OPENVINO else choice.refused)
        assert all(one.batch_size == 4 and one.images_per_second > 0 for one in choice.measurements)
        assert not choice.from_cache

    def test_the_fastest_is_taken(self, int8: ModelArtifact) -> None:
        choice = choose_engine(int8, batch_size=4)
        rates = {one.engine: one.images_per_second for one in choice.measurements}
        assert choice.engine == max(rates, key=lambda engine: rates[engine])
        assert choice.batch_size == 4

    def test_batch_sizes_of_the_fastest(self, int8: ModelArtifact) -> None:
        choice = choose_engine(int8)
        sizes = {one.batch_size: one.images_per_second for one in choice.measurements if one.engine == choice.engine}
        assert {1, 4} <= set(sizes) <= {1, 4, 8, 16, 32}
        assert sizes[choice.batch_size] >= 0.97 * max(sizes.values())

    @pytest.mark.skipif(not OPENVINO, reason="openvino, an optional extra, is not installed")
    def test_batch_sizes_of_a_compiled_engine(self, int8: ModelArtifact) -> None:
        choice = choose_engine(int8, engine="openvino")
        sizes = {one.batch_size: one.images_per_second for one in choice.measurements}
        assert {1, 4} <= set(sizes) and choice.batch_size in sizes and not choice.refused

    def test_batch_sizes_of_one_engine(self, int8: ModelArtifact) -> None:
        choice = choose_engine(int8, engine="fbgemm")
        assert _engines(choice) == [choice.engine] == ["fbgemm"]

    def test_float_engines_of_a_float_artifact(self) -> None:
        choice = choose_engine(float_artifact(SmallNet()))
        assert set(_engines(choice)) == {"float32", "bfloat16"}
        assert choice.batch_size == 16

    def test_layers_in_float_fix_the_batch_size(self) -> None:
        """Their predictions are the same at one batch size only, so no measurement may choose it."""
        mixed = quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, config=QuantizationConfig(float_layers=("conv1",)))
        assert mixed.manifest.float_layers
        assert settled_batch_size(mixed.manifest, "auto") == choose_engine(mixed).batch_size == 16
        assert settled_batch_size(mixed.manifest, 7) == 7


class _Twin:
    """A test double: fbgemm under another engine's name, which answers wrongly, or computes for too long."""

    def __init__(self, engine: Engine, name: str, *, sign: int = 1, seconds: float = 0) -> None:
        self.name = name
        self._engine, self._sign, self._seconds = engine, sign, seconds

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # Not asleep: on one thread, engines are compared by the time that they compute.
        until = time.process_time() + self._seconds
        while time.process_time() < until:
            pass
        return np.float32(self._sign) * self._engine.run(images)


def _replace_engine(monkeypatch: pytest.MonkeyPatch, name: str, *, sign: int = 1, seconds: float = 0) -> None:
    def load(payload: bytes, options: LoadOptions) -> Engine:
        return _Twin(load_fbgemm(payload, options), name, sign=sign, seconds=seconds)

    _replace_loader(monkeypatch, name, load)


def _replace_loader(monkeypatch: pytest.MonkeyPatch, name: str, load: Callable[[bytes, LoadOptions], Engine]) -> None:
    monkeypatch.setattr(f"sparkq.engines.{spec_of(name).loader.replace(':', '.')}", load)


class TestRefused:
    """An engine that cannot run, or is wrong, is out, and its reason is kept."""

    def test_wrong_outputs(self, int8: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
        """However fast it is."""
        _replace_engine(monkeypatch, "onednn", sign=-1)
        choice = choose_engine(int8, batch_size=4)
        assert "onednn" not in _engines(choice) and choice.engine != "onednn"
        assert "golden output" in choice.refused["onednn"] and "dB" in choice.refused["onednn"]

    def test_slow_one_is_not_taken(self, int8: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fiftieth of a second against a thousandth."""
        for slow in ("x86", "onednn", "openvino"):
            _replace_engine(monkeypatch, slow, seconds=0.02)
        choice = choose_engine(int8, batch_size=1)
        assert choice.engine == "fbgemm" and set(_engines(choice)) == {"fbgemm", "x86", "onednn", "openvino"}

    def test_missing_package(self, int8: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        choice = choose_engine(int8, batch_size=4)
        assert "the package openvino is not installed" in choice.refused["openvino"] and choice.engine in TORCH_ENGINES

    def test_engine_that_fails_to_load(self, int8: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(payload: bytes, options: LoadOptions) -> Engine:
            raise RuntimeError("Traceback of C++\nno kernel for this CPU")

        _replace_loader(monkeypatch, "x86", load)
        choice = choose_engine(int8, batch_size=4)
        assert "no kernel for this CPU" in choice.refused["x86"] and "\n" not in choice.refused["x86"]

    def test_nothing_is_right(self, int8: ModelArtifact, cache: Path) -> None:
        """An artifact whose golden output is that of other weights: refused with every reason, and not remembered."""
        golden = replace(int8.manifest.golden, output=-int8.manifest.golden.output)
        falsified = replace(int8, manifest=replace(int8.manifest, golden=golden))
        choose_engine(int8, batch_size=4)
        kept = sorted(cache.glob("*.choice"))
        with pytest.raises(EngineError) as caught:
            choose_engine(falsified, batch_size=4)
        message = str(caught.value)
        assert all(engine in message for engine in TORCH_ENGINES) and "golden output" in message and "\n" not in message
        assert caught.value.hint and sorted(cache.glob("*.choice")) == kept


class TestCache:
    """One measurement a node, artifact and software; a cache that fails costs time only."""

    def test_the_second_worker_reads_it(self, int8: ModelArtifact) -> None:
        first = choose_engine(int8, batch_size=4)
        assert choose_engine(int8, batch_size=4) == replace(first, from_cache=True)

    @pytest.mark.parametrize("change", ["artifact", "batch_size", "engine", "threads", "openvino"])
    def test_what_it_depends_on(self, int8: ModelArtifact, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
        choose_engine(int8, engine="fbgemm", batch_size=4)
        artifact, engine, batch_size, threads = int8, "fbgemm", 4, None
        if change == "artifact":
            artifact = digits_artifact()
        elif change == "batch_size":
            batch_size = 8
        elif change == "engine":
            engine = "onednn"
        elif change == "threads":
            threads = torch.get_num_threads() + 1
            monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
        else:
            monkeypatch.setattr("importlib.metadata.version", lambda package: "2031.0")
        assert not choose_engine(artifact, engine=engine, batch_size=batch_size, threads=threads).from_cache

    @pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 40, b"null", b"[1]", b'{"engine": "fbgemm"}'])
    @pytest.mark.parametrize("checksum", [True, False])
    def test_spoiled_file(self, int8: ModelArtifact, cache: Path, content: bytes, checksum: bool) -> None:
        """Also one that is whole, but not ours."""
        first = choose_engine(int8, engine="fbgemm", batch_size=4)
        [path] = cache.glob("*.choice")
        path.write_bytes((hashlib.sha256(content).digest() if checksum else b"") + content)
        again = choose_engine(int8, engine="fbgemm", batch_size=4)
        assert not again.from_cache and again.engine == first.engine
        assert choose_engine(int8, engine="fbgemm", batch_size=4).from_cache

    def test_directory_that_is_a_file(self, int8: ModelArtifact, cache: Path) -> None:
        cache.write_text("not a directory")
        assert not any(choose_engine(int8, engine="fbgemm", batch_size=4).from_cache for _ in range(2))

    def test_no_home(self, int8: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
        def homeless() -> Path:
            raise RuntimeError("no home")

        monkeypatch.delenv("SPARKQ_CACHE_DIR")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", homeless)
        assert not choose_engine(int8, engine="fbgemm", batch_size=4).from_cache

    def test_only_the_user_reads_it(self, int8: ModelArtifact, cache: Path) -> None:
        choose_engine(int8, engine="fbgemm", batch_size=4)
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in cache.glob("*.choice")} == {0}

    def test_of_two_workers_one_measures(self, int8: ModelArtifact) -> None:
        """Two processes that start at once."""
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            both = pool.map(_chosen, [int8.dumps()] * 2, chunksize=1)
        assert len({pid for pid, _ in both}) == 2
        assert sorted(choice.from_cache for _, choice in both) == [False, True]
        assert both[0][1].engine == both[1][1].engine


def _chosen(data: bytes) -> tuple[int, EngineChoice]:
    torch.set_num_threads(1)
    choice = choose_engine(ModelArtifact.loads(data), batch_size=4)
    # So that the other process gets the other task.
    time.sleep(1)
    return os.getpid(), choice
