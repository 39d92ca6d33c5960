"""ONNX files become modules that compute what onnxruntime does, for any batch size, and that FX quantization fuses."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional as F

from sparkq.config import QuantizationConfig
from sparkq.float_models.onnx import load_onnx
from sparkq.quantization import quantize
from tests.models import REFERENCES, reference_files, reference_model
from tests.onnx_files import difference, export, kinds, outputs_of, weights, write

NODE = helper.make_node
SIZES = {"resnet20": 32, "squeezenet": 227, "mobilenet": 224}


def images(count: int, size: int, *, channels: int = 3) -> Tensor:
    """Normal noise."""
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("name", REFERENCES)
def test_exports_of_trained_models_compute_what_onnxruntime_does(
    shared_data: Path, tmp_path: Path, name: str, dynamo: bool,
) -> None:
    """Three images at once, though the file was written for one."""
    path = export(reference_model(shared_data, name), tmp_path / f"{name}.onnx", SIZES[name], dynamo=dynamo)
    assert difference(path, images(3, SIZES[name])) < 1e-4
    model = load_onnx(str(path))
    assert model.meta["image_shape"] == (3, SIZES[name], SIZES[name])
    assert type(model).__name__ == name
    assert set(kinds(model)) <= {
        "Conv2d", "Linear", "ReLU", "ReLU6", "MaxPool2d", "mean", "flatten", "pad", "cat", "add", "getitem",
    }


def test_an_export_is_quantized_as_well_as_its_model(shared_data: Path, tmp_path: Path) -> None:
    """No layer stays in float, and INT8 agrees with onnxruntime's float answers on real images."""
    path = export(reference_model(shared_data, "resnet20"), tmp_path / "resnet20.onnx", 32)
    model, preprocess = load_onnx(str(path)), REFERENCES["resnet20"].preprocess
    files = reference_files(shared_data, "resnet20", 40, step=40)
    artifacts = {
        recipe: quantize(model, calibration=files, preprocess=preprocess, config=QuantizationConfig(recipe=recipe))
        for recipe in ("static", "none")
    }
    assert artifacts["static"].manifest.float_layers == ()
    golden = [artifacts[recipe].manifest.golden.output for recipe in ("static", "none")]
    assert golden[0].argmax() == golden[1].argmax()
    assert len(artifacts["static"].payload) < 0.5 * len(artifacts["none"].payload)


def test_the_known_troubles_identity_19_and_an_aliased_bias(tmp_path: Path) -> None:
    """Two convolutions share one bias, through Identity of version 19, on which onnx2torch fails."""
    nodes = [
        NODE("Identity", ["bias"], ["alias"]),
        NODE("Identity", ["alias"], ["alias_of_alias"]),
        NODE("Conv", ["x", "conv1.weight", "bias"], ["a"], pads=[1, 1, 1, 1]),
        NODE("Relu", ["a"], ["b"]),
        NODE("Identity", ["b"], ["c"]),
        NODE("Conv", ["c", "conv2.weight", "alias_of_alias"], ["d"]),
        NODE("GlobalAveragePool", ["d"], ["e"]),
        NODE("Flatten", ["e"], ["y"]),
    ]
    constants = {"bias": weights(6), "conv1.weight": weights(6, 3, 3, 3), "conv2.weight": weights(6, 6, 3, 3)}
    path = write(tmp_path / "m.onnx", nodes, constants, shape=[1, 3, 16, 16], opset=19)
    assert difference(path, images(4, 16)) < 1e-5
    assert kinds(load_onnx(str(path))) == ["Conv2d", "ReLU", "Conv2d", "AdaptiveAvgPool2d", "flatten"]
    assert [name for name, _ in load_onnx(str(path)).named_parameters()] == [
        "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias",
    ]


def keras_file(path: Path) -> Path:
    """As tf2onnx writes Keras: NHWC, a transpose around each convolution, asymmetric pads, BiasAdd, MatMul and Add."""
    to_nchw, to_nhwc = [0, 3, 1, 2], [0, 2, 3, 1]
    nodes = [
        NODE("Transpose", ["x"], ["t1"], perm=to_nchw),
        NODE("Conv", ["t1", "w1"], ["c1"], name="net/conv1/Conv2D", auto_pad="SAME_UPPER", strides=[2, 2]),
        NODE("Transpose", ["c1"], ["h1"], perm=to_nhwc),
        NODE("Add", ["h1", "b1"], ["a1"]),
        NODE("Clip", ["a1", "zero", "six"], ["r1"]),
        NODE("Pad", ["r1", "pads"], ["p1"]),
        NODE("Transpose", ["p1"], ["t2"], perm=to_nchw),
        NODE("Conv", ["t2", "w2"], ["c2"], name="net/dw/depthwise", group=6, strides=[2, 2]),
        NODE("BatchNormalization", ["c2", "g", "b", "m", "v"], ["n2"], epsilon=1e-3),
        NODE("Transpose", ["n2"], ["h2"], perm=to_nhwc),
        NODE("Relu", ["h2"], ["r2"]),
        NODE("Concat", ["r2", "r2"], ["k"], axis=3),
        NODE("ReduceMean", ["k"], ["mean"], axes=[1, 2], keepdims=0),
        NODE("Shape", ["mean"], ["s"]),
        NODE("Slice", ["s", "start", "end"], ["n"]),
        NODE("Concat", ["n", "minus_one"], ["target"], axis=0),
        NODE("Reshape", ["mean", "target"], ["f"]),
        NODE("MatMul", ["f", "w3"], ["logits"]),
        NODE("Add", ["logits", "b3"], ["biased"]),
        NODE("Softmax", ["biased"], ["y"]),
    ]
    constants = {
        "w1": weights(6, 3, 3, 3), "b1": weights(6), "zero": np.float32(0), "six": np.float32(6),
        "pads": np.asarray([0, 0, 0, 0, 0, 1, 1, 0]), "w2": weights(6, 1, 3, 3), "g": weights(6) + 1, "b": weights(6),
        "m": weights(6), "v": np.abs(weights(6)) + 0.5, "start": np.asarray([0]), "end": np.asarray([1]),
        "minus_one": np.asarray([-1]), "w3": weights(12, 5, scale=2), "b3": weights(5),
    }
    return write(path, nodes, constants, shape=["batch", 18, 18, 3])


def test_a_keras_file_in_nhwc(tmp_path: Path) -> None:
    """Every transpose is gone, BiasAdd is a bias, Clip a ReLU6: what FX fuses."""
    path = keras_file(tmp_path / "keras.onnx")
    assert difference(path, images(3, 18)) < 1e-5
    model = load_onnx(str(path))
    assert model.meta["image_shape"] == (3, 18, 18)
    assert kinds(model) == [
        "pad", "Conv2d", "ReLU6", "pad", "Conv2d", "BatchNorm2d", "ReLU", "cat", "mean", "Linear", "softmax",
    ]


def test_a_dense_layer_after_flattened_nhwc(tmp_path: Path) -> None:
    """Its weights count height, width, channel: the permutation must really happen before the flatten."""
    nodes = [
        NODE("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), NODE("Conv", ["t", "w"], ["c"]),
        NODE("Transpose", ["c"], ["h"], perm=[0, 2, 3, 1]), NODE("Reshape", ["h", "shape"], ["f"]),
        NODE("Gemm", ["f", "w2", "b2"], ["y"], alpha=0.5, beta=2.0),
    ]
    constants = {"w": weights(4, 3, 3, 3), "shape": np.asarray([-1, 144]), "w2": weights(144, 5), "b2": weights(5)}
    assert difference(write(tmp_path / "m.onnx", nodes, constants, shape=[1, 8, 8, 3]), images(3, 8)) < 1e-5


def test_a_caffe_file(tmp_path: Path) -> None:
    """Opset 9: BatchNorm without scale and a Scale layer after it, LRN, windows in ceil mode, Dropout, an output [N, C, 1, 1]."""
    nodes = [
        NODE("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        NODE("BatchNormalization", ["c1", "ones", "zeros", "m", "v"], ["n1"]),
        NODE("Mul", ["n1", "scale"], ["s1"]),
        NODE("Add", ["s1", "shift"], ["s2"]),
        NODE("Relu", ["s2"], ["r1"]),
        NODE("LRN", ["r1"], ["l1"], size=5, alpha=1e-2, beta=0.75),
        NODE("MaxPool", ["l1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        NODE("Dropout", ["p1"], ["d1"], ratio=0.5),
        NODE("Conv", ["d1", "w2", "b2"], ["c2"]),
        NODE("AveragePool", ["c2"], ["a"], kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
        NODE("GlobalAveragePool", ["a"], ["y"]),
    ]
    constants = {
        "w1": weights(6, 3, 3, 3), "b1": weights(6), "ones": np.ones(6, np.float32), "zeros": np.zeros(6, np.float32),
        "m": weights(6), "v": np.abs(weights(6)) + 0.5, "scale": weights(6, 1, 1) + 1, "shift": weights(6, 1, 1),
        "w2": weights(5, 6, 1, 1), "b2": weights(5),
    }
    path = write(tmp_path / "m.onnx", nodes, constants, shape=[1, 3, 17, 17], opset=10)
    assert difference(path, images(3, 17)) < 1e-5


def test_a_paddle_file(tmp_path: Path) -> None:
    """Biases as Add of [1, C, 1, 1], swish and hard-swish from pieces, flatten by Reshape with zeros, a scaled Gemm."""
    nodes = [
        NODE("Conv", ["x", "w1"], ["c1"]), NODE("Add", ["c1", "b1"], ["a1"]),
        NODE("HardSigmoid", ["a1"], ["hs"], alpha=1 / 6, beta=0.5), NODE("Mul", ["a1", "hs"], ["m1"]),
        NODE("Sigmoid", ["m1"], ["sg"]), NODE("Mul", ["m1", "sg"], ["m2"]),
        NODE("AveragePool", ["m2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        NODE("Split", ["p", "sizes"], ["left", "right"], axis=1), NODE("Concat", ["right", "left"], ["k"], axis=1),
        NODE("Reshape", ["k", "target"], ["f"]), NODE("MatMul", ["f", "w2"], ["mm"]), NODE("Add", ["mm", "b2"], ["y"]),
    ]
    constants = {
        "w1": weights(6, 3, 3, 3), "b1": weights(1, 6, 1, 1), "sizes": np.asarray([2, 4]), "target": np.asarray([0, -1]),
        "w2": weights(54, 5), "b2": weights(5),
    }
    assert difference(write(tmp_path / "m.onnx", nodes, constants, shape=["N", 3, 8, 8]), images(3, 8)) < 1e-5


def test_a_bias_is_not_taken_into_a_layer_that_others_see(tmp_path: Path) -> None:
    """The convolution's own output is used again: it must not have the bias."""
    nodes = [
        NODE("Conv", ["x", "w"], ["c"]), NODE("Add", ["c", "b"], ["a"]), NODE("Relu", ["a"], ["r"]),
        NODE("Mul", ["r", "c"], ["m"]),
        NODE("GlobalAveragePool", ["m"], ["p"]), NODE("Reshape", ["p", "target"], ["y"]),
    ]
    constants = {"w": weights(4, 3, 1, 1), "b": weights(1, 4, 1, 1), "target": np.asarray([1, 4])}
    assert difference(write(tmp_path / "m.onnx", nodes, constants, shape=[1, 3, 8, 8]), images(3, 8)) < 1e-5


class Mixer(nn.Module):
    """Channel shuffle (a reshape to five dimensions), a squeeze-and-excite gate, GELU, LayerNorm, slices."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] to [N, 5]."""
        x = F.gelu(self.conv(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = x * F.hardsigmoid(self.gate(x.mean((2, 3), keepdim=True))) + torch.cat([x.chunk(2, 1)[0]] * 2, 1) * 0.5
        return F.log_softmax(self.head(self.norm(x.amax((2, 3)))), 1)


def test_shuffles_gates_and_norms(tmp_path: Path) -> None:
    """What ShuffleNet, MobileNetV3 and ConvNeXt are made of."""
    torch.manual_seed(0)
    assert difference(export(Mixer().eval(), tmp_path / "mixer.onnx", 12), images(3, 12)) < 1e-4


def test_batch_free_in_the_file_and_in_the_module(tmp_path: Path) -> None:
    """One image or five: each gets the answer that it gets alone."""
    path = keras_file(tmp_path / "keras.onnx")
    model, batch = load_onnx(str(path)), images(5, 18)
    with torch.no_grad():
        together, alone = model(batch), torch.cat([model(image[None]) for image in batch])
    assert torch.allclose(together, alone, atol=1e-6)
    assert np.allclose(outputs_of(path, batch), together.numpy(), atol=1e-5)
