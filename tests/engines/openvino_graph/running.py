"""Programs run in OpenVINO, for tests: their answers, and the precision that their layers really ran in."""
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.engines.openvino_graph.build import openvino_model
from sparkq.engines.openvino_graph.library import openvino
from sparkq.program.types import Program

__all__ = ["answers", "compiled", "layer_precisions"]

_LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")


def compiled(program: Program, batch_size: int | None) -> Any:
    """The program's model, compiled as the engine does."""
    config = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(openvino_model(program, batch_size), "CPU", config)


def answers(program: Program, images: npt.NDArray[np.uint8], batch_size: int | None) -> npt.NDArray[np.float32]:
    """What OpenVINO answers."""
    result: npt.NDArray[np.float32] = compiled(program, batch_size)(images)[0]
    return result


def layer_precisions(model: Any) -> list[str]:
    """The precision that each layer of a compiled model runs in: ``u8``, ``i8`` or ``f32``."""
    described = [node.get_rt_info() for node in model.get_runtime_model().get_ordered_ops()]
    return [
        str(entry["runtimePrecision"].astype(str)) for entry in described
        if str(entry["layerType"].astype(str)).startswith(_LAYERS)
    ]
