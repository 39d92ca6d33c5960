"""OpenVINO: compiled once a node, told to nobody, and an error where it cannot run."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparkq.config import QuantizationConfig
from sparkq.engines.base import LoadOptions
from sparkq.engines.cache import BlobCache
from sparkq.engines.load import load_engine
from sparkq.engines.node import describe_node
from sparkq.errors import EngineError
from sparkq.images.preprocess import preprocess_content
from sparkq.metrics.sqnr import sqnr_of
from sparkq.quantization import quantize
from sparkq.worker.fitting import engine_for
from sparkq.worker.predictor import Predictor
from tests.models import SMALL, SmallNet, digit_files, digits_artifact, noise

OPTIONS = LoadOptions((16, 16), batch_size=4)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, which does not exist yet."""
    monkeypatch.setenv("SPARKQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def payload() -> bytes:
    """A small static payload."""
    return quantize(SmallNet(), calibration=noise(8), preprocess=SMALL).payload


def test_real_scans() -> None:
    """The same answers as fbgemm's, but for the last digits of the float sums."""
    artifact = digits_artifact()
    images = np.stack([preprocess_content(file, artifact.manifest.preprocess) for file in digit_files(50)])
    ours, theirs = (Predictor(artifact, engine=name).engine.run(images) for name in ("openvino", "fbgemm"))
    assert sqnr_of(theirs, ours) > 100


def test_results_do_not_share_memory(payload: bytes) -> None:
    """The next batch is written into the same buffers."""
    engine = load_engine(payload, "openvino", OPTIONS)
    first, second = np.stack(noise(3)), np.stack(noise(3, seed=1))
    output = engine.run(first)
    kept = output.copy()
    engine.run(second)
    assert np.array_equal(output, kept)


class TestCache:
    """The compiled blob of one worker serves the next."""

    def test_the_second_load_compiles_nothing(self, payload: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        images = np.stack(noise(6))
        expected = load_engine(payload, "openvino", OPTIONS).run(images)
        (blob,) = cache.glob("*.openvino")
        assert blob.stat().st_mode & 0o077 == 0 and cache.stat().st_mode & 0o077 == 0
        # What cannot be built any more can only come from the cache.
        monkeypatch.setattr("sparkq.engines.openvino.loads_program", None)
        assert np.array_equal(load_engine(payload, "openvino", OPTIONS).run(images), expected)
        assert list(cache.glob("*.openvino")) == [blob]

    def test_another_batch_size_is_another_blob(self, payload: bytes, cache: Path) -> None:
        for batch_size in (4, 5):
            load_engine(payload, "openvino", LoadOptions((16, 16), batch_size=batch_size))
        assert len(list(cache.glob("*.openvino"))) == 2

    @pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[:99] + b"x" + data[100:]])
    def test_a_damaged_blob_is_compiled_anew(self, payload: bytes, cache: Path, damage: object) -> None:
        images = np.stack(noise(2))
        expected = load_engine(payload, "openvino", OPTIONS).run(images)
        (blob,) = cache.glob("*.openvino")
        whole = blob.read_bytes()
        blob.write_bytes(damage(whole))  # type: ignore[operator]
        assert np.array_equal(load_engine(payload, "openvino", OPTIONS).run(images), expected)
        assert BlobCache(blob.name).read() is not None

    def test_no_place_for_it(self, payload: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A cache that cannot be written costs time, never a task."""
        (tmp_path / "file").write_text("not a directory")
        monkeypatch.setenv("SPARKQ_CACHE_DIR", str(tmp_path / "file" / "cache"))
        assert load_engine(payload, "openvino", OPTIONS).run(np.stack(noise(1))).shape == (1, 4)


class TestErrors:
    """They name the node and say what to do."""

    def test_not_installed(self, payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(EngineError, match="openvino") as caught:
            load_engine(payload, "openvino", OPTIONS)
        assert describe_node() in str(caught.value) and "sparkq[openvino]" in str(caught.value)

    def test_float_artifact(self) -> None:
        """Its name would not say what was computed."""
        with pytest.raises(EngineError, match="none"):
            engine_for(digits_artifact("none"), "openvino")


def test_it_reports_to_nobody() -> None:
    """Importing openvino sends statistics; a worker must not, and must leave a package of that name importable."""
    script = (
        "import sys\nfrom sparkq.engines.openvino_graph.library import openvino\nprint(openvino.__name__)\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "openvino\n", done.stderr


class _PooledBlock(nn.Module):
    """A float island behind INT8: its mean must not be rounded again. And a sum that reads a rounded convolution."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.first, self.second, self.linear = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        x = self.first(x).relu()
        logits: Tensor = self.linear((x + self.second(x)).relu().mean((2, 3)))
        return logits


def test_the_dynamic_recipe() -> None:
    """It computes what torch's engines do, but for the last digits of steps that it takes from each image."""
    artifact = digits_artifact("dynamic")
    images = np.stack([preprocess_content(content, artifact.manifest.preprocess) for content in digit_files(40)])
    ours, theirs = (Predictor(artifact, engine=name).engine.run(images) for name in ("openvino", "fbgemm"))
    assert sqnr_of(theirs, ours) > 40 and np.array_equal(ours.argmax(1), theirs.argmax(1))


@pytest.mark.parametrize("config", [QuantizationConfig(), QuantizationConfig(float_layers=("second",))], ids=["static", "float"])
def test_it_rounds_where_the_others_do(config: QuantizationConfig) -> None:
    """Neither more often (means of dequantized values) nor less (sums)."""
    artifact = quantize(_PooledBlock(), calibration=noise(16), preprocess=SMALL, config=config)
    images = np.stack(noise(64, seed=9))
    ours, theirs = (Predictor(artifact, engine=name).engine.run(images) for name in ("openvino", "fbgemm"))
    assert sqnr_of(theirs, ours) > (100 if not artifact.manifest.float_layers else 60)
