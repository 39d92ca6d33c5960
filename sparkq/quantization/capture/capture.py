"""`capture_program`: from a torch module that takes pixels to the program that computes the same."""
from __future__ import annotations

import math
import warnings
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
from sparkq.quantization.capture.merge import RECORDED_IMAGES, merged
from sparkq.quantization.capture.moves import MOVES
from sparkq.quantization.capture.quantized import CHANGES, QUANTIZED
from sparkq.quantization.capture.recorder import record

__all__ = ["capture_program", "capture_values"]

_CONVERTERS = {
    **{f"aten.{name}": convert for name, convert in {**ARITHMETIC, **LAYERS, **MOVES, **CHANGES}.items()},
    **{f"quantized.{name}": convert for name, convert in QUANTIZED.items()},
}


def capture_program(module: nn.Module, images: npt.NDArray[np.uint8]) -> Program:
    """Record a module on images and write down what it computes. On the driver.

    Parameters
    ----------
    module : nn.Module
        uint8 [N, H, W, 3] to float32 [N, C], for any N; in eval mode.
    images : ndarray of uint8 [1 or more, H, W, 3]
        What it is run on, twice, with different numbers of them.

    Raises
    ------
    ModelError
        If it has an operator that a program cannot hold, or computes other things for other numbers of images.
    """
    program, (output,) = _captured(module, images)
    return _checked(replace(program, output=output))


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
    program, names = _captured(module, images)
    types = program.types()
    last = next(name for name in reversed(names) if min(types[name].shape, default=0) < 0)
    shape = (-1, math.prod(types[last].sizes(1)))
    flat = Node("flattened", "aten.view", (last,), {}, ValueType("float32", shape))
    return _checked(replace(program, nodes=(*program.nodes, flat), output=flat.name)), names


def _captured(module: nn.Module, images: npt.NDArray[np.uint8]) -> tuple[Program, tuple[str, ...]]:
    tapes, answers = [], []
    for count in RECORDED_IMAGES:
        batch = torch.from_numpy(np.resize(images, (count, *images.shape[1:])))
        with warnings.catch_warnings():
            # torch's quantized dtypes are deprecated upstream.
            warnings.simplefilter("ignore")
            tape, output = record(module, batch, _CONVERTERS)
            tensors = [output] if isinstance(output, Tensor) else list(output)
            answers.append(tuple(tape.real(tensor) for tensor in tensors))
            tapes.append(tape)
    program = merged((tapes[0], tapes[1]), answers[0], answers[1])
    return replace(program, input=ValueType("uint8", (-1, *images.shape[1:]))), answers[0]


def _checked(program: Program) -> Program:
    try:
        check_program(program)
    except ValueError as error:
        raise ModelError(
            f"model: expected a network that a program can hold; {error}.",
            hint="write the model with other operators, or name an embedding layer in front.",
        ) from error
    return program
