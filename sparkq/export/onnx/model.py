"""`onnx_bytes`: from a program to an ONNX file."""
from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from sparkq.errors import ModelError
from sparkq.export.onnx.graph import OUTPUT, Graph, Writer
from sparkq.export.onnx.layers import LAYERS
from sparkq.export.onnx.moves import MOVES
from sparkq.export.onnx.values import VALUES
from sparkq.program.types import INPUT, Program
from sparkq.version import __version__

__all__ = ["WRITERS", "onnx_bytes"]

_OPSET, _IR_VERSION = 21, 10

WRITERS: dict[str, Writer] = {**VALUES, **LAYERS, **MOVES}
"""By operator, what writes a node of it."""


def onnx_bytes(program: Program, *, name: str) -> bytes:
    """Write a program as ONNX, INT8 as QuantizeLinear and DequantizeLinear; the same program always gives the same bytes.

    Parameters
    ----------
    program : Program
        Checked.
    name : str
        Of the graph in the file.

    Returns
    -------
    bytes
        A model that `onnx.checker` accepts: ``images`` uint8 [N, H, W, 3] to ``output`` float32 [N, C].

    Raises
    ------
    ModelError
        If ONNX cannot say it: with the node and its operator.
    """
    types = program.types()
    graph = Graph(program.constants, types)
    for node in program.nodes:
        graph.place = node.name
        WRITERS[node.operator](graph, node)
    graph.finish(program.output)
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *program.input.shape[1:]])
    answer = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", types[program.output].shape[1]])
    made = helper.make_graph(graph.nodes, name, [images], [answer], list(graph.initializers.values()))
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="sparkq",
        producer_version=__version__,
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(
            f"model {name}: expected a program that ONNX can hold; got {' '.join(str(error).split())[:300]}.",
            hint="export it to another format.",
        ) from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data
