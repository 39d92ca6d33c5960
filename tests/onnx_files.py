"""Real ONNX files: exported from trained models, and written node by node as other exporters write them."""
from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

from sparkq.float_models.onnx import load_onnx

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(7)


def export(model: nn.Module, path: Path, size: int, *, dynamo: bool = True) -> Path:
    """Write `model` with batch size 1 as torch does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"external_data": False} if dynamo else {}
        torch.onnx.export(model, (torch.zeros(1, 3, size, size),), str(path), dynamo=dynamo, verbose=False, **options)
    return path


def weights(*shape: int, scale: float = 0.3) -> np.ndarray:
    """Random float32."""
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


def write(
    path: Path, nodes: Sequence[onnx.NodeProto], initializers: Mapping[str, np.ndarray], *, shape: Sequence[int | str],
    opset: int = 17, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",),
) -> Path:
    """A file of these nodes; its inputs are ``x``, its outputs ``y``."""
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info(name, FLOAT, list(shape)) for name in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def outputs_of(path: Path, images: Tensor) -> np.ndarray:
    """What onnxruntime says, image by image, for files are written with batch size 1; NHWC where the file wants it so."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    if wanted.shape[1] != images.shape[1]:
        images = images.permute(0, 2, 3, 1)
    answers = [session.run(None, {wanted.name: image[None].contiguous().numpy()})[0] for image in images]
    return np.stack([answer.reshape(-1) for answer in answers])


def difference(path: Path, images: Tensor) -> float:
    """Largest difference between onnxruntime and the imported module, which torch.fx must trace, on a batch."""
    model = load_onnx(str(path))
    fx.symbolic_trace(model)
    with torch.no_grad():
        answers = model(images).numpy()
    expected = outputs_of(path, images)
    assert answers.shape == expected.shape
    assert np.ptp(expected, axis=0).max() > 1e-3, "these images do not tell right from wrong"
    return float(np.abs(answers - expected).max())


def kinds(model: nn.Module) -> list[str]:
    """What the graph calls, in order: classes of modules, names of functions."""
    assert isinstance(model, fx.GraphModule)
    return [
        type(model.get_submodule(str(node.target))).__name__ if node.op == "call_module" else node.target.__name__
        for node in model.graph.nodes if node.op in ("call_module", "call_function")
    ]
