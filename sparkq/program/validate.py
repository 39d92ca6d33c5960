"""The check that a program is one: operators of the list, values before they are read, types that follow, sizes in bounds."""
from __future__ import annotations

import math
from collections.abc import Mapping

from sparkq.program.contents import check_contents
from sparkq.program.limits import MANY_IMAGES, check_limits
from sparkq.program.operators import ARITHMETIC, OPERATORS, Operator
from sparkq.program.shapes.call import Call
from sparkq.program.types import INPUT, Attribute, Node, Program, ValueType

__all__ = ["check_program"]

_DTYPES = ("uint8", "int8", "int32", "int64", "float32", "float64", "bool")
_MOST_NODES = 2**13
"""Twice those of the largest networks. OpenVINO's compiler takes time by the square of their number: 20 seconds for these."""
_MOST_INPUTS, _MOST_ALL_INPUTS = 2**9, 2**15
"""Of one node and of all: compilers spend as much time on them as on nodes."""
_MOST_RANK = 8
_MOST_VALUES = 2**26
"""Of one image: a feature map of 64 channels on 1024 x 1024 pixels. Kernels count in 32 bits, for some dozen images at a time."""
_MOST_NAME = 500
_MOST_INTEGER = 2**53
_MOST_FLOAT32 = (2 - 2**-23) * 2.0**127
# A shape that holds for one image and for primes that no layer's size is likely to be holds for every number of images.
_TRIED_IMAGES = (1, 7, 1009)
# torch takes the larger of two tensors, but none of a number.
_WITH_NUMBERS = ARITHMETIC - {"aten.maximum", "aten.minimum"}


def check_program(program: Program) -> None:
    """Check everything that an engine relies on; nothing of the program is computed.

    Raises
    ------
    ValueError
        With one clause that says which node is wrong, what was expected and what was found.
    """
    if program.input.dtype != "uint8" or len(program.input.shape) != 4 or program.input.shape[0] != -1:
        raise ValueError(f"input: expected uint8 [N, H, W, 3]; got {program.input}")
    height, width, channels = program.input.shape[1:]
    if channels != 3 or min(height, width) < 1 or 3 * height * width > _MOST_VALUES:
        raise ValueError(f"input: expected sizes of an image; got {program.input}")
    _check_counts(program)
    types = {INPUT: program.input}
    for name, array in program.constants.items():
        _check_new(name, types)
        if str(array.dtype) not in _DTYPES:
            raise ValueError(f"constant {name}: expected a dtype of {', '.join(_DTYPES)}; got {array.dtype}")
        types[name] = ValueType(str(array.dtype), array.shape)
        if array.ndim > _MOST_RANK or not array.size:
            raise ValueError(f"constant {name}: expected values in up to {_MOST_RANK} dimensions; got {types[name]}")
    for node in program.nodes:
        _check_new(node.name, types)
        _check_node(node, types)
        types[node.name] = node.type
    output = types.get(program.output)
    if output is None or output.dtype != "float32" or len(output.shape) != 2 or output.shape[0] != -1 or output.shape[1] < 1:
        raise ValueError(f"output {program.output}: expected a value of float32 [N, C]; got {output}")
    if program.output in program.constants:
        raise ValueError(f"output {program.output}: expected the value of a node; got a constant")
    check_contents(program)
    check_limits(program)


def _check_counts(program: Program) -> None:
    if len(program.nodes) > _MOST_NODES:
        raise ValueError(f"nodes: expected at most {_MOST_NODES}; got {len(program.nodes)}")
    inputs = [len(node.inputs) for node in program.nodes]
    if max(inputs, default=0) > _MOST_INPUTS or sum(inputs) > _MOST_ALL_INPUTS:
        raise ValueError(
            f"nodes: expected at most {_MOST_INPUTS} inputs of one and {_MOST_ALL_INPUTS} of all; got {max(inputs)} and "
            f"{sum(inputs)}",
        )


def _check_new(name: str, types: Mapping[str, ValueType]) -> None:
    if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
        raise ValueError(f"name {name[:_MOST_NAME]!r}: expected up to {_MOST_NAME} printable characters")
    if name in types:
        raise ValueError(f"name {name}: expected each value once; got two")


def _check_node(node: Node, types: Mapping[str, ValueType]) -> None:
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


def _check_declared(node: Node) -> None:
    if node.type.dtype not in _DTYPES or len(node.type.shape) > _MOST_RANK:
        raise ValueError(f"node {node.name}: expected a type of up to {_MOST_RANK} dimensions; got {node.type}")
    if any(size == 0 or abs(size) > _MOST_VALUES for size in node.type.shape):
        raise ValueError(f"node {node.name}: expected sizes from 1 to {_MOST_VALUES}; got {node.type}")
    # What grows with the square of N has its bound for as many images as anyone runs at once.
    grows_faster = sum(size < 0 for size in node.type.shape) > 1
    if math.prod(node.type.sizes(MANY_IMAGES if grows_faster else 1)) > _MOST_VALUES:
        for_many = f"for {MANY_IMAGES} images" if grows_faster else "an image"
        raise ValueError(f"node {node.name}: expected at most {_MOST_VALUES} values {for_many}; got {node.type}")


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
        elif node.operator not in _WITH_NUMBERS or not _is_number(given) or math.isinf(given):
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
        return value is None and kind == "number?" or isinstance(value, (int, float)) and _is_number(value)
    return value in kind.split("|")


def _is_number(value: float) -> bool:
    """Tell whether torch takes it for a number of float32; infinities are."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= _MOST_INTEGER
    return math.isinf(value) or abs(value) <= _MOST_FLOAT32
