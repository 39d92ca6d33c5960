"""Bounds on what a program costs: a few kilobytes could ask for more work and memory than any node has."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from sparkq.program.types import INPUT, Node, Program, ValueType
from sparkq.program.work import multiply_accumulates

__all__ = ["MANY_IMAGES", "check_limits"]

MANY_IMAGES = 512
"""Number of images at once for which what grows with its square has to be within bounds."""
_ITEM_BYTES = {"uint8": 1, "int8": 1, "int32": 4, "int64": 8, "float32": 4, "float64": 8, "bool": 1}
_MOST_WORK = 2**42
"""Multiply-accumulates of one image: ten times those of the largest vision transformers."""
_MOST_FIXED_WORK = 2**32
"""Multiply-accumulates of what is the same for all images: networks have hardly any, compilers their slowest kernels for it."""
_MOST_POOLED = 2**34
"""Values that pools read for one image: ten seconds' work, and a hundred times what those of networks read."""
_MOST_MOVED = 2**37
"""Bytes that all nodes together read and write for one image: half a minute's work, and three times that of the largest."""
_MOST_HELD = 2**30
"""Bytes of one image that are there at once: four of the largest values."""
_MOST_COPIES, _SPARE = 32, 2**30
"""Weights that a program reads and computes, in bytes a byte of the file.

INT8 ones are read, become four bytes of float32, and these are read: nine, and more where layers share them.
"""
_MOST_ROUNDINGS = 2**8
"""Roundings one behind the other without a layer in between: residual networks have two a block.

OpenVINO's compiler takes time by their square, 6 seconds for these.
"""
_QUANTIZE = "quantized_decomposed.quantize_per_tensor"
_LAYERS = ("aten.conv2d", "aten.conv_transpose2d", "aten.linear", "aten.matmul", "aten.scaled_dot_product_attention")
_POOLS = ("aten.adaptive_avg_pool2d", "aten.avg_pool2d", "aten.max_pool2d")
_PADDED = ("aten.avg_pool2d", "aten.conv2d", "aten.max_pool2d")


def check_limits(program: Program) -> None:
    """Check that one image costs what a network may cost, and that weights cost what the size of the file leads to expect.

    Parameters
    ----------
    program : Program
        Whose types follow.

    Raises
    ------
    ValueError
        With one clause that says what is too much.
    """
    types = program.types()

    def work(images: int) -> int:
        return sum(multiply_accumulates(program, images=images).values())

    def pooled(images: int) -> int:
        return sum(_window_reads(node, types, images) for node in program.nodes)

    def moved(images: int) -> int:
        sizes = {name: _bytes(found, images) for name, found in types.items()}
        return sum(sizes[name] for node in program.nodes for name in (node.name, *node.values))

    _check(_roundings_in_a_row(program), _MOST_ROUNDINGS, "roundings without a layer in between")
    _check(_an_image(work), _MOST_WORK, "multiply-accumulates an image")
    _check(_an_image(pooled), _MOST_POOLED, "values that pools read an image")
    _check(_an_image(moved), _MOST_MOVED, "bytes moved an image")
    _check(_held(program, types), _MOST_HELD, "bytes an image at once")
    # Engines pack weights once for each layer, and compute beforehand what is the same for all images.
    fixed = {name: _bytes(found, 1) for name, found in types.items() if min(found.shape, default=0) >= 0}
    fixed_work = sum(count for name, count in multiply_accumulates(program).items() if name in fixed)
    _check(fixed_work, _MOST_FIXED_WORK, "multiply-accumulates with weights alone")
    stored = sum(fixed[name] for name in program.constants)
    copied = sum(fixed.get(name, 0) for node in program.nodes for name in (node.name, *node.values))
    _check(copied, _MOST_COPIES * stored + _SPARE, f"bytes of weights, with {stored} in the file")


def _check(found: int, most: int, what: str) -> None:
    if found > most:
        raise ValueError(f"nodes: expected at most {most} {what}; got {found}")


def _roundings_in_a_row(program: Program) -> int:
    """Count the roundings on the longest way through the program that meets no layer."""
    counts: dict[str, int] = {}
    for node in program.nodes:
        before = 0 if node.operator in _LAYERS else max((counts.get(name, 0) for name in node.values), default=0)
        counts[node.name] = before + (node.operator == _QUANTIZE)
    return max(counts.values(), default=0)


def _an_image(count: Callable[[int], int]) -> int:
    """Return what one image costs, alone or as one of many."""
    return max(count(1), count(MANY_IMAGES) // MANY_IMAGES)


def _at_once(count: Callable[[int], int]) -> int:
    """Return the bytes for one image; for many of them where the count grows faster than their number."""
    one, many = count(1), count(MANY_IMAGES)
    return many if many > MANY_IMAGES * one else one


def _bytes(found: ValueType, images: int) -> int:
    return _ITEM_BYTES[found.dtype] * math.prod(found.sizes(images))


def _window_reads(node: Node, types: Mapping[str, ValueType], images: int) -> int:
    """Count the values that a pool reads: each window's, as far as it lies within the plane."""
    if node.operator not in _POOLS:
        return 0
    plane = types[str(node.inputs[0])].sizes(images)[2:]
    result = node.type.sizes(images)
    # An adaptive pool's windows begin and end in the middle of values that belong to two.
    sides = node.attributes.get("kernel_size") or tuple(size // count + 2 for size, count in zip(plane, result[2:], strict=True))
    assert isinstance(sides, tuple)
    return math.prod(result) * math.prod(min(side, size) for side, size in zip(sides, plane, strict=True))


def _held(program: Program, types: Mapping[str, ValueType]) -> int:
    """Count the bytes of values that are there at once at most, each until its last reader is done."""
    def size(name: str) -> int:
        return _at_once(lambda images: _bytes(types[name], images))

    freed = program.last_reads()
    held = largest = size(INPUT)
    for node in program.nodes:
        held += size(node.name)
        scratch = _at_once(partial(_scratch, node, types))
        largest = max(largest, held + scratch)
        held -= sum(map(size, freed[node.name]))
    return largest


def _scratch(node: Node, types: Mapping[str, ValueType], images: int) -> int:
    """Count the bytes that a kernel may take for itself: scores, a padded plane, or a transposed layer's columns."""
    inputs = [types[name].sizes(images) for name in node.values]
    if node.operator == "aten.scaled_dot_product_attention":
        values = math.prod(inputs[0][:-1]) * inputs[1][-2]
    elif node.operator in _PADDED:
        values = inputs[0][1] * math.prod(
            size + 2 * padding for size, padding in zip(inputs[0][2:], node.attribute("padding"), strict=True)
        )
    elif node.operator == "aten.conv_transpose2d":
        values = math.prod(inputs[0][2:]) * math.prod(inputs[1][1:]) * node.attribute("groups")
    else:
        values = 0
    return 4 * values
