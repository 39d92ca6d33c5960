"""From a classifier to an embedder: the right layer, the same numbers, and nothing behind it."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import sparkq
from sparkq.artifact.file import ModelArtifact
from sparkq.config import ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.errors import ConfigError, InputError, ModelError
from sparkq.images.preprocess import preprocess_content
from sparkq.model_tasks import cosine_similarity
from sparkq.quantization import quantize
from sparkq.quantization.task_model import task_model
from sparkq.worker.predictor import Predictor
from tests.float_models.exported.test_loading import save
from tests.models import REFERENCES, SMALL, SmallNet, noise, reference_files, reference_model
from tests.onnx_files import export

EMBEDDING = ModelTaskConfig("embedding")
IMAGES = torch.linspace(-2, 2, 5 * 3 * 16 * 16).reshape(5, 3, 16, 16).sin()


class Ends(nn.Module):
    """Two convolutions and a head of many kinds."""

    def __init__(self, end: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.ReLU(inplace=True))
        self.pool, self.flatten, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout()
        self.head, self.other, self.norm = nn.Linear(8, 4), nn.Linear(8, 4), nn.BatchNorm1d(4)
        self.pointwise, self.end = nn.Conv2d(8, 4, 1), end

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 4]."""
        x = self.body(x)
        if self.end == "planes":
            return F.softmax(torch.relu(self.pointwise(self.dropout(x))).mean((2, 3)), 1)
        if self.end == "pixel":
            return self.pointwise(self.pool(x)).flatten(1)
        x = self.flatten(self.pool(x))
        return {
            "linear": lambda: self.head(self.dropout(x)),
            "function": lambda: F.linear(F.dropout(x, training=self.training), self.head.weight, self.head.bias),
            "view": lambda: self.head(x.view(x.size(0), -1)),
            "two heads": lambda: self.head(x) + self.other(x),
            "embedder": lambda: self.norm(self.head(x)),
        }[self.end]()


def embedder(model: nn.Module, layer: str | None = None, preprocess: PreprocessConfig = SMALL) -> tuple[nn.Module, str]:
    """The cut model, and the name of its layer."""
    cut, task = task_model(model.eval(), ModelTaskConfig("embedding", layer), preprocess)
    assert task.embedding_layer is not None
    return cut, task.embedding_layer


@pytest.mark.parametrize("end", ["linear", "function", "view", "planes", "pixel"])
def test_what_the_head_takes(end: str) -> None:
    """Pooled, whatever kind of layer the head is; its weights are gone, and the layer's name finds it again."""
    model = Ends(end).eval()
    cut, layer = embedder(model)
    with torch.no_grad():
        torch.testing.assert_close(cut(IMAGES), model.body(IMAGES).mean((2, 3)))
        assert torch.equal(embedder(model, layer)[0](IMAGES), cut(IMAGES))
    assert {name.split(".")[0] for name in cut.state_dict()} == {"body"}


@pytest.mark.parametrize("end", ["two heads", "embedder"])
def test_no_head_is_guessed(end: str) -> None:
    """What the model returns can still be had, by name."""
    model = Ends(end).eval()
    with pytest.raises(ModelError, match="expected a classifier whose last layer") as caught:
        embedder(model)
    assert "output" in str(caught.value.hint)
    with torch.no_grad():
        torch.testing.assert_close(embedder(model, "output")[0](IMAGES), model(IMAGES))


@pytest.mark.parametrize("layer", ["body", "body.0", "body.1", "body.2", "pool", "flatten", "head"])
def test_any_named_layer(layer: str) -> None:
    """The pooled output of that module; an in-place ReLU behind it changes nothing."""
    model = Ends("linear").eval()
    seen: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        model(IMAGES)
        hook.remove()
        expected = seen[0].mean((2, 3)) if seen[0].ndim == 4 else seen[0]
        torch.testing.assert_close(embedder(model, layer)[0](IMAGES), expected)


def test_a_layer_that_runs_twice_gives_its_last_output() -> None:
    class Twice(SmallNet):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
            return self.linear(x.mean((2, 3)))

    assert embedder(Twice(), "relu")[0](IMAGES).shape == (5, 16)


@pytest.mark.parametrize(("layer", "words"), [("conv_2", "conv2"), ("backbone", "its last ones are")])
def test_an_unknown_layer_is_told_which_there_are(layer: str, words: str) -> None:
    with pytest.raises(ModelError, match=f"got '{layer}'") as caught:
        embedder(SmallNet(), layer)
    assert words in str(caught.value.hint)


class Odd(nn.Module):
    """A container that does not return what it computes last, and layers of other shapes."""

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept = x.mean((2, 3))
            torch.relu(x)
            return kept

    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2)

    class ChannelsLast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.rows, self.last, self.inner = Odd.Rows(), Odd.ChannelsLast(), Odd.Inner()

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 2]."""
        x = self.conv(x)
        return self.linear(self.inner(x) + self.rows(x).mean(2) + self.last(x).mean((1, 2)))


@pytest.mark.parametrize(("layer", "words"), {
    "inner": "expected embedding_layer to give one tensor, the last that is computed in it",
    "rows": r"expected an output of \[N, C\] or \[N, C, H, W\]; got \[N, 4, 196\]",
    "last": r"expected an output of \[N, C\] or \[N, C, H, W\]; got \[N, 14, 14, 4\]",
}.items())
def test_no_wrong_vector_that_looks_right(layer: str, words: str) -> None:
    """A container whose last operation is not its output, rows of tokens, channels last."""
    with pytest.raises(ModelError, match=words):
        embedder(Odd(), layer)


def test_the_model_is_left_as_it_was() -> None:
    model = SmallNet().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    task_model(model, EMBEDDING, SMALL)
    assert model.training and not model.linear._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert task_model(model, ModelTaskConfig(), SMALL) == (model, ModelTaskConfig())


@pytest.mark.parametrize(("name", "layer", "length"), [("mobilenet", "mean", 256), ("squeezenet", "fires.7", 512)])
def test_heads_that_are_convolutions(shared_data: Path, name: str, layer: str, length: int) -> None:
    """On one pixel, and on planes that are averaged behind it."""
    preprocess, model = REFERENCES[name].preprocess, reference_model(shared_data, name)
    cut, found = embedder(model, None, preprocess)
    with torch.no_grad():
        assert (found, tuple(cut(torch.rand(1, 3, *preprocess.input_size)).shape)) == (layer, (1, length))


def test_names_survive_onnx_and_pt2(shared_data: Path, tmp_path: Path) -> None:
    """A file's graph has layers with names, and gives the same vectors at the head."""
    preprocess, model = REFERENCES["resnet20"].preprocess, reference_model(shared_data, "resnet20")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    cut, _ = embedder(model, None, preprocess)
    for spec in (f"onnx:{export(model, tmp_path / 'm.onnx', 32)}", f"pt2:{save(model, tmp_path / 'm.pt2', 32)}"):
        imported = sparkq.load_float_model(spec)
        again, layer = embedder(imported, None, preprocess)
        with torch.no_grad():
            torch.testing.assert_close(again(images), cut(images), rtol=1e-3, atol=1e-3)
            assert torch.equal(embedder(imported, layer, preprocess)[0](images), again(images))
        with pytest.raises(ModelError, match="expected images of"):
            embedder(imported, None, SMALL)


def test_labels_and_evaluation_images_are_refused() -> None:
    """There are no classes."""
    with pytest.raises(InputError, match="labels: expected none with task embedding"):
        sparkq.quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, task="embedding", labels=("a", "b", "c", "d"))
    with pytest.raises(InputError, match="evaluation: expected none with task embedding"):
        sparkq.quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, task="embedding", evaluation=noise(4))
    with pytest.raises(ConfigError, match="embedding_layer: expected it with task embedding"):
        sparkq.quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, embedding_layer="conv2")
    with pytest.raises(ConfigError, match="task: expected one of classification, embedding, detection; got 'segmentation'"):
        sparkq.quantize(SmallNet(), calibration=noise(4), preprocess=SMALL, task="segmentation")


@pytest.fixture(scope="module")
def resnet(shared_data: Path) -> ModelArtifact:
    """Through the gate."""
    files = reference_files(shared_data, "resnet20", 60, step=31)
    return sparkq.quantize(
        reference_model(shared_data, "resnet20"), calibration=files, preprocess=REFERENCES["resnet20"].preprocess,
        task="embedding",
    )


def test_what_the_artifact_says(resnet: ModelArtifact) -> None:
    """Task, layer and length; measured by cosine; smaller than with its head."""
    manifest = resnet.manifest
    assert (manifest.name, manifest.task, manifest.embedding_layer) == ("CifarResNet", "embedding", "mean")
    assert (manifest.output_length, manifest.classes, manifest.labels, manifest.scores) == (64, 0, None, None)
    assert ModelArtifact.loads(resnet.dumps()) == resnet
    accuracy = manifest.accuracy
    assert accuracy["images"] == 12 and 0.99 < accuracy["least_cosine"] <= accuracy["mean_cosine"] <= 1
    assert "agreement" not in accuracy and "calibration_agreement" not in accuracy
    assert "output_length=64" in repr(resnet)


@pytest.fixture(scope="module")
def pixels(shared_data: Path) -> np.ndarray:
    """Images of all ten classes, forty of each."""
    preprocess = REFERENCES["resnet20"].preprocess
    return np.stack([preprocess_content(file, preprocess) for file in reference_files(shared_data, "resnet20", 400, step=5)])


@pytest.fixture(scope="module")
def vectors(shared_data: Path, resnet: ModelArtifact, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the INT8 artifact, and of a hook on the float model itself."""
    model = reference_model(shared_data, "resnet20")
    seen: list[Tensor] = []
    model.get_submodule("linear").register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    mean, std = (torch.tensor(getattr(resnet.manifest.preprocess, part)).view(3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        model((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std)
    return Predictor(resnet).run_rows(pixels[:400], batch_size=400).outputs, seen[0].numpy()


def test_int8_vectors_are_the_float_models(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    """Those that its last layer takes."""
    cosines = cosine_similarity(vectors[1], vectors[0])
    assert cosines.mean() > 0.998 and cosines.min() > 0.95


def test_int8_vectors_tell_as_much(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    """Ten nearest neighbours of an image vote for its class; a ridge regression on half of them finds it: within 2 points."""
    labels = np.repeat(np.arange(10), 40)

    def neighbours(found: np.ndarray) -> float:
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        alike = unit @ unit.T - 2 * np.eye(len(unit))
        votes = labels[np.argsort(-alike, axis=1)[:, :10]]
        return float((np.array([np.bincount(row, minlength=10).argmax() for row in votes]) == labels).mean())

    def regression(found: np.ndarray) -> float:
        x = np.hstack([found.astype(np.float64), np.ones((len(found), 1))])
        train, test = x[::2], x[1::2]
        weights = np.linalg.solve(train.T @ train + np.eye(x.shape[1]), train.T @ np.eye(10)[labels[::2]])
        return float(((test @ weights).argmax(1) == labels[1::2]).mean())

    for judge in (neighbours, regression):
        int8, floating = judge(vectors[0]), judge(vectors[1])
        assert floating > 0.75 and int8 > floating - 0.02


@settings(max_examples=15, deadline=None)
@given(chosen=st.lists(st.integers(0, 399), min_size=1, max_size=33), batch_size=st.sampled_from([1, 7, 16]))
@pytest.mark.parametrize("engine", ["fbgemm", "onednn"])
def test_a_vector_never_depends_on_its_batch(
    resnet: ModelArtifact, pixels: np.ndarray, chosen: list[int], batch_size: int, engine: str,
) -> None:
    """To the bit: its last operation is a mean in float."""
    predictor = _predictor(resnet, engine)
    for start in range(0, len(chosen), batch_size):
        rows = chosen[start:start + batch_size]
        alone = np.concatenate([predictor.engine.run(pixels[row:row + 1]) for row in rows])
        assert predictor.run_rows(pixels[rows], batch_size=batch_size).outputs.tobytes() == alone.tobytes()


_PREDICTORS: dict[str, Predictor] = {}


def _predictor(artifact: ModelArtifact, engine: str) -> Predictor:
    if engine not in _PREDICTORS:
        _PREDICTORS[engine] = Predictor(artifact, engine=engine)
    return _PREDICTORS[engine]


@pytest.mark.parametrize("recipe", ["none", "dynamic", "mixed"])
def test_other_recipes(recipe: str) -> None:
    """The same vectors, more or less; float ones to the last digits."""
    model = SmallNet()
    cut, task = task_model(model, EMBEDDING, SMALL)
    artifact = quantize(cut, calibration=noise(40), preprocess=SMALL, config=QuantizationConfig(recipe=recipe), task=task)
    images = np.stack(noise(8, seed=5))
    with torch.no_grad():
        expected = cut(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).numpy()
    cosines = cosine_similarity(expected, Predictor(artifact).engine.run(images))
    assert cosines.min() > (1 - 1e-6 if recipe == "none" else 0.99)
