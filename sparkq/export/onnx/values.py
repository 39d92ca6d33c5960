"""Writers of what is computed value by value, and over dimensions."""
from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from sparkq.export.onnx.graph import Graph, Writer
from sparkq.program.types import Node

__all__ = ["VALUES"]

_SAME = {
    "abs": "Abs", "ceil": "Ceil", "cos": "Cos", "erf": "Erf", "exp": "Exp", "floor": "Floor", "hardswish": "HardSwish",
    "log": "Log", "mish": "Mish", "neg": "Neg", "reciprocal": "Reciprocal", "relu": "Relu", "round": "Round",
    "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "tanh": "Tanh",
    "add": "Add", "div": "Div", "maximum": "Max", "minimum": "Min", "mul": "Mul", "pow": "Pow", "sub": "Sub", "matmul": "MatMul",
    "eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less",
    "logical_and": "And", "logical_or": "Or", "logical_not": "Not", "where": "Where",
}
_REDUCTIONS = {"amax": "ReduceMax", "amin": "ReduceMin", "mean": "ReduceMean", "sum": "ReduceSum"}
_NORMS = {1.0: "ReduceL1", 2.0: "ReduceL2"}
_DTYPES = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}


def _same(graph: Graph, node: Node) -> None:
    graph.add(_SAME[node.operator.partition(".")[2]], [graph.value(given) for given in node.inputs], node.name)


def _x(graph: Graph, node: Node) -> str:
    return graph.value(node.inputs[0])


def _ne(graph: Graph, node: Node) -> None:
    graph.add("Not", [graph.add("Equal", [graph.value(given) for given in node.inputs])], node.name)


def _expm1(graph: Graph, node: Node) -> None:
    graph.add("Sub", [graph.add("Exp", [_x(graph, node)]), graph.value(1.0)], node.name)


def _log1p(graph: Graph, node: Node) -> None:
    graph.add("Log", [graph.add("Add", [_x(graph, node), graph.value(1.0)])], node.name)


def _rsqrt(graph: Graph, node: Node) -> None:
    graph.add("Reciprocal", [graph.add("Sqrt", [_x(graph, node)])], node.name)


def _silu(graph: Graph, node: Node) -> None:
    graph.add("Mul", [_x(graph, node), graph.add("Sigmoid", [_x(graph, node)])], node.name)


def _hardsigmoid(graph: Graph, node: Node) -> None:
    graph.add("HardSigmoid", [_x(graph, node)], node.name, alpha=1 / 6, beta=0.5)


def _clamp(graph: Graph, node: Node) -> None:
    graph.add("Clip", [_x(graph, node), graph.value(node.attribute("min")), graph.value(node.attribute("max"))], node.name)


def _elu(graph: Graph, node: Node) -> None:
    x, alpha, scale, inside = _x(graph, node), *(node.attribute(name) for name in ("alpha", "scale", "input_scale"))
    negative = graph.add("Mul", [graph.add("Min", [x, graph.value(0.0)]), graph.value(inside)])
    below = graph.add("Mul", [graph.add("Elu", [negative], alpha=1.0), graph.value(alpha * scale)])
    graph.add("Add", [graph.add("Mul", [graph.add("Relu", [x]), graph.value(scale)]), below], node.name)


def _gelu(graph: Graph, node: Node) -> None:
    graph.add("Gelu", [_x(graph, node)], node.name, approximate=node.attribute("approximate"))


def _leaky_relu(graph: Graph, node: Node) -> None:
    graph.add("LeakyRelu", [_x(graph, node)], node.name, alpha=node.attribute("negative_slope"))


def _softplus(graph: Graph, node: Node) -> None:
    beta, x = graph.value(node.attribute("beta")), _x(graph, node)
    scaled = graph.add("Mul", [x, beta])
    curved = graph.add("Div", [graph.add("Softplus", [scaled]), beta])
    graph.add("Where", [graph.add("Greater", [scaled, graph.value(node.attribute("threshold"))]), x, curved], node.name)


def _softmax(graph: Graph, node: Node) -> None:
    name = "LogSoftmax" if node.operator == "aten.log_softmax" else "Softmax"
    graph.add(name, [_x(graph, node)], node.name, axis=node.attribute("dim"))


def _reduction(graph: Graph, node: Node) -> None:
    _reduced(graph, _REDUCTIONS[node.operator.partition(".")[2]], _x(graph, node), node, node.name)


def _reduced(graph: Graph, operator: str, x: str, node: Node, output: str | None = None) -> str:
    dims = graph.integers(*node.attribute("dim"))
    return graph.add(operator, [x, dims], output, keepdims=int(node.attribute("keepdim")))


def _var(graph: Graph, node: Node) -> None:
    x, count = _x(graph, node), math.prod(graph.fixed(node, 0, *node.attribute("dim")))
    mean = graph.add("ReduceMean", [x, graph.integers(*node.attribute("dim"))], keepdims=1)
    off = graph.add("Sub", [x, mean])
    square = _reduced(graph, "ReduceSum", graph.add("Mul", [off, off]), node)
    graph.add("Div", [square, graph.value(max(count - node.attribute("correction"), 0.0))], node.name)


def _vector_norm(graph: Graph, node: Node) -> None:
    x, order = _x(graph, node), node.attribute("ord")
    if order in _NORMS:
        _reduced(graph, _NORMS[order], x, node, node.name)
    elif math.isinf(order):
        _reduced(graph, "ReduceMax" if order > 0 else "ReduceMin", graph.add("Abs", [x]), node, node.name)
    elif order == 0:
        others = graph.add("Not", [graph.add("Equal", [x, graph.value(0.0)])])
        _reduced(graph, "ReduceSum", graph.add("Cast", [others], to=TensorProto.FLOAT), node, node.name)
    else:
        powers = graph.add("Pow", [graph.add("Abs", [x]), graph.value(order)])
        graph.add("Pow", [_reduced(graph, "ReduceSum", powers, node), graph.value(1 / order)], node.name)


def _cast(graph: Graph, node: Node) -> None:
    graph.add("Cast", [_x(graph, node)], node.name, to=_DTYPES[node.type.dtype])


def _quantize(graph: Graph, node: Node) -> None:
    scale, zero_point, low, high = (node.attribute(name) for name in ("scale", "zero_point", "quant_min", "quant_max"))
    inputs = [_x(graph, node), graph.constant(np.float32(scale)), graph.constant(np.uint8(zero_point))]
    if (low, high) == (0, 255):
        graph.add("QuantizeLinear", inputs, node.name)
    else:
        bounds = [graph.constant(np.uint8(bound)) for bound in (low, high)]
        graph.add("Clip", [graph.add("QuantizeLinear", inputs), *bounds], node.name)


def _dequantize(graph: Graph, node: Node) -> None:
    scale, zero_point = np.float32(node.attribute("scale")), np.uint8(node.attribute("zero_point"))
    graph.add("DequantizeLinear", [_x(graph, node), graph.constant(scale), graph.constant(zero_point)], node.name)


def _dequantize_per_channel(graph: Graph, node: Node) -> None:
    integers, scales, zeros = (str(name) for name in node.inputs)
    steps = graph.constant(graph.constants[scales].astype(np.float32)) if scales in graph.constants else graph.value(scales)
    zero_points, axis = graph.constants[zeros], node.attribute("axis")
    if (np.abs(zero_points.astype(np.float64) + 0.5) < 128).all():
        inputs = [graph.value(integers), steps, graph.constant(zero_points.astype(np.int8))]
        graph.add("DequantizeLinear", inputs, node.name, axis=axis)
        return
    # Zero points beyond the integers' own type, which nothing but arithmetic takes.
    shape = [-1 if dim == axis else 1 for dim in range(len(node.type.shape))]
    real = graph.add("Cast", [graph.value(integers)], to=TensorProto.FLOAT)
    moved = graph.add("Sub", [real, graph.constant(zero_points.astype(np.float32).reshape(shape))])
    graph.add("Mul", [moved, graph.add("Reshape", [steps, graph.integers(*shape)])], node.name)


VALUES: dict[str, Writer] = {
    **{f"aten.{name}": write for name, write in {
        **dict.fromkeys(_SAME, _same), **dict.fromkeys(_REDUCTIONS, _reduction),
        "ne": _ne, "expm1": _expm1, "log1p": _log1p, "rsqrt": _rsqrt, "silu": _silu, "hardsigmoid": _hardsigmoid, "clamp": _clamp,
        "elu": _elu, "gelu": _gelu, "leaky_relu": _leaky_relu, "softplus": _softplus, "softmax": _softmax,
        "log_softmax": _softmax, "var": _var, "linalg_vector_norm": _vector_norm, "_to_copy": _cast,
    }.items()},
    "quantized_decomposed.quantize_per_tensor": _quantize,
    "quantized_decomposed.dequantize_per_tensor": _dequantize,
    "quantized_decomposed.dequantize_per_channel": _dequantize_per_channel,
}
"""By operator."""
