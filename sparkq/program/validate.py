"""The check that a program is one: operators of the list, values before they are read, types that follow, sizes in bounds."""
from __future__ import annotations

import math
from collections.abc import Mapping

from sparkq.program.operators import ARITHMETIC, OPERATORS, Operator
from sparkq.program.shapes.call import Call
from sparkq.program.types import INPUT, Attribute, Node, Program, ValueType
from sparkq.program.work import multiply_accumulates

__all__ = ["check_program"]

_DTYPES = {"uint8": 1, "int8": 1, "int32": 4, "int64": 8, "float32": 4, "float64": 8, "bool": 1}
_MOST_NODES = 2**16
_MOST_RANK = 8
_MOST_VALUE_BYTES = 2**28
"""Of one image: a feature map of 64 channels on 1024 x 1024 pixels in float32."""
_MOST_WORK = 2**42
"""Multiply-accumulates of one image: ten times those of the largest vision transformers."""
_MOST_NAME = 500
# Two primes that no layer's size is likely to have: a shape that holds for both holds for every number of images.
_TRIED_IMAGES = (5, 7)


def check_program(program: Program) -> None:
    """Check everything that an engine relies on; nothing of the program is computed.

    Raises
    ------
    ValueError
        With one clause that says which node is wrong, what was expected and what was found.
    """
    if program.input.dtype != "uint8" or len(program.input.shape) != 4 or program.input.shape[0] != -1:
        raise ValueError(f"input: expected uint8 [N, H, W, 3]; got {program.input}")
    if program.input.shape[3] != 3 or not all(0 < size < 2**16 for size in program.input.shape[1:3]):
        raise ValueError(f"input: expected sizes of an image; got {program.input}")
    if len(program.nodes) > _MOST_NODES:
        raise ValueError(f"nodes: expected at most {_MOST_NODES}; got {len(program.nodes)}")
    types = {INPUT: program.input}
    for name, array in program.constants.items():
        _check_new(name, types)
        if str(array.dtype) not in _DTYPES:
            raise ValueError(f"constant {name}: expected a dtype of {', '.join(_DTYPES)}; got {array.dtype}")
        types[name] = ValueType(str(array.dtype), array.shape)
    for node in program.nodes:
        _check_new(node.name, types)
        _check_node(node, types, program)
        types[node.name] = node.type
    work = sum(multiply_accumulates(program).values())
    if work > _MOST_WORK:
        raise ValueError(f"nodes: expected at most {_MOST_WORK} multiply-accumulates an image; got {work}")
    output = types.get(program.output)
    if output is None or output.dtype != "float32" or len(output.shape) != 2 or output.shape[0] != -1 or output.shape[1] < 1:
        raise ValueError(f"output {program.output}: expected a value of float32 [N, C]; got {output}")
    if program.output in program.constants:
        raise ValueError(f"output {program.output}: expected the value of a node; got a constant")


def _check_new(name: str, types: Mapping[str, ValueType]) -> None:
    if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
        raise ValueError(f"name {name[:_MOST_NAME]!r}: expected up to {_MOST_NAME} printable characters")
    if name in types:
        raise ValueError(f"name {name}: expected each value once; got two")


def _check_node(node: Node, types: Mapping[str, ValueType], program: Program) -> None:
    operator = OPERATORS.get(node.operator)
    if operator is None:
        raise ValueError(f"node {node.name}: expected an operator of the list; got {node.operator[:_MOST_NAME]!r}")
    _check_declared(node)
    _check_inputs(node, operator, types)
    if set(node.attributes) != set(operator.attributes):
        raise ValueError(
            f"node {node.name}: expected attributes {sorted(operator.attributes)} of {node.operator}; got "
            f"{sorted(node.attributes)[:20]}",
        )
    for name, kind in operator.attributes.items():
        if not _is_kind(node.attributes[name], kind):
            raise ValueError(f"node {node.name}: expected {name} to be of kind {kind}; got {node.attributes[name]!r}")
    for images in _TRIED_IMAGES:
        declared = node.type.dtype, node.type.sizes(images)
        try:
            found = operator.infer(Call(tuple(_typed(given, types, images) for given in node.inputs), node.attributes, declared))
        except ValueError as error:
            raise ValueError(f"node {node.name} ({node.operator}): {error}") from error
        if found != declared:
            raise ValueError(
                f"node {node.name} ({node.operator}): expected {found[0]} {list(found[1])} for {images} images; got "
                f"{declared[0]} {list(declared[1])}",
            )
    if node.operator == "aten.index_select":
        _check_index(node, types, program)


def _check_declared(node: Node) -> None:
    if node.type.dtype not in _DTYPES or len(node.type.shape) > _MOST_RANK:
        raise ValueError(f"node {node.name}: expected a type of up to {_MOST_RANK} dimensions; got {node.type}")
    if any(size == 0 or abs(size) > _MOST_VALUE_BYTES for size in node.type.shape):
        raise ValueError(f"node {node.name}: expected sizes above zero; got {node.type}")
    if _DTYPES[node.type.dtype] * math.prod(node.type.sizes(1)) > _MOST_VALUE_BYTES:
        raise ValueError(f"node {node.name}: expected at most {_MOST_VALUE_BYTES} bytes an image; got {node.type}")


def _check_inputs(node: Node, operator: Operator, types: Mapping[str, ValueType]) -> None:
    fixed = [name for name in operator.inputs if not name.endswith("*")]
    many = len(fixed) < len(operator.inputs)
    if len(node.inputs) < len(fixed) + many or (len(node.inputs) > len(fixed) and not many):
        raise ValueError(f"node {node.name}: expected inputs {', '.join(operator.inputs)}; got {len(node.inputs)}")
    for index, given in enumerate(node.inputs):
        if isinstance(given, str):
            if given not in types:
                raise ValueError(f"node {node.name}: expected input {index} to be a value before it; got {given[:_MOST_NAME]!r}")
        elif given is None:
            if index >= len(fixed) or not fixed[index].endswith("?"):
                raise ValueError(f"node {node.name}: expected input {index} not to be left out")
        elif isinstance(given, bool) or node.operator not in ARITHMETIC or not math.isfinite(given):
            raise ValueError(f"node {node.name}: expected input {index} to be a value; got {given!r}")


def _typed(given: object, types: Mapping[str, ValueType], images: int) -> tuple[str, tuple[int, ...]] | float | int | None:
    if isinstance(given, str):
        return types[given].dtype, types[given].sizes(images)
    assert given is None or isinstance(given, (int, float))
    return given


def _is_kind(value: Attribute, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "int":
        return isinstance(value, int) and abs(value) < 2**31
    if kind == "ints":
        return isinstance(value, tuple) and len(value) <= 2 * _MOST_RANK and all(
            isinstance(number, int) and not isinstance(number, bool) and abs(number) < 2**31 for number in value
        )
    if kind in ("float", "number?"):
        return isinstance(value, (int, float)) and not math.isnan(value) or value is None and kind == "number?"
    return value in kind.split("|")


def _check_index(node: Node, types: Mapping[str, ValueType], program: Program) -> None:
    """Numbers of rows must be known: an engine would read whatever lies behind the tensor."""
    index, rows = program.constants.get(str(node.inputs[1])), types[str(node.inputs[0])].shape[node.attribute("dim")]
    if index is None or rows < 0 or index.size == 0 or not 0 <= index.min() <= index.max() < rows:
        raise ValueError(f"node {node.name}: expected a constant index of rows below {rows}")
