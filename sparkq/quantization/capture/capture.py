"""`capture_program`: from a torch module that takes pixels to the program that computes the same."""
from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparkq.errors import ModelError
from sparkq.program.types import Node, Program, ValueType
from sparkq.program.validate import check_program
from sparkq.quantization.capture.arithmetic import ARITHMETIC
from sparkq.quantization.capture.layers import LAYERS
from sparkq.quantization.capture.merge import RECORDED_IMAGES, Recording, merged
from sparkq.quantization.capture.moves import MOVES
from sparkq.quantization.capture.quantized import CHANGES, QUANTIZED
from sparkq.quantization.capture.recorder import record

__all__ = ["capture_program", "capture_values"]

_CONVERTERS = {
    **{f"aten.{name}": convert for name, convert in {**ARITHMETIC, **LAYERS, **MOVES, **CHANGES}.items()},
    **{f"quantized.{name}": convert for name, convert in QUANTIZED.items()},
}


def capture_program(
    module: nn.Module, images: npt.NDArray[np.uint8], *, proofs: Sequence[npt.NDArray[np.uint8]] = (),
) -> Program:
    """Record a module on images and write down what it computes. On the driver.

    Parameters
    ----------
    module : nn.Module
        uint8 [N, H, W, 3] to float32 [N, C], for any N; in eval mode.
    images : ndarray of uint8 [1 or more, H, W, 3]
        What it is run on, twice, with different numbers of them.
    proofs : sequence of ndarray of uint8 [H, W, 3]
        For each of them it is recorded once more: a model that branches on pixel values, or computes a constant from them, is
        another program there, and would be wrong for every image that goes another way.

    Raises
    ------
    ModelError
        If it has an operator that a program cannot hold, or computes other things for other images or numbers of them.
    """
    few, more = (_recorded(module, images, count) for count in RECORDED_IMAGES)
    program = merged(few, more)
    for image in proofs:
        merged(_recorded(module, image[np.newaxis], RECORDED_IMAGES[0]), more)
    return _checked(replace(program, input=_input(images)))


def capture_values(module: nn.Module, images: npt.NDArray[np.uint8]) -> tuple[Program, tuple[str, ...]]:
    """Record a module that gives several tensors of float32, of any shapes.

    Parameters
    ----------
    module : nn.Module
        uint8 [N, H, W, 3] to a tuple of tensors, at least one of which depends on the images.
    images : ndarray of uint8 [1 or more, H, W, 3]
        As for `capture_program`.

    Returns
    -------
    (Program, tuple of str)
        A program whose output is one of them, flattened, and the names of their values: nodes or constants.

    Raises
    ------
    ModelError
        As `capture_program`.
    """
    few, more = (_recorded(module, images, count) for count in RECORDED_IMAGES)
    program, names = replace(merged(few, more), input=_input(images)), few.outputs
    types = program.types()
    last = next(name for name in reversed(names) if min(types[name].shape, default=0) < 0)
    shape = (-1, math.prod(types[last].sizes(1)))
    flat = Node("flattened", "aten.view", (last,), {}, ValueType("float32", shape))
    return _checked(replace(program, nodes=(*program.nodes, flat), output=flat.name)), names


def _input(images: npt.NDArray[np.uint8]) -> ValueType:
    return ValueType("uint8", (-1, *images.shape[1:]))


def _recorded(module: nn.Module, images: npt.NDArray[np.uint8], count: int) -> Recording:
    batch = torch.from_numpy(np.resize(images, (count, *images.shape[1:])))
    with warnings.catch_warnings():
        # torch's quantized dtypes are deprecated upstream.
        warnings.simplefilter("ignore")
        tape, output = record(module, batch, _CONVERTERS)
        tensors = [output] if isinstance(output, Tensor) else list(output)
        return Recording(tape, tuple(tape.real(tensor) for tensor in tensors))


def _checked(program: Program) -> Program:
    try:
        check_program(program)
    except ValueError as error:
        raise ModelError(
            f"model: expected a network that a program can hold; {error}.",
            hint="write the model with other operators, or name an embedding layer in front.",
        ) from error
    return program
