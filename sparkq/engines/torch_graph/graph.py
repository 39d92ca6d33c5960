"""A program as torch runs it: its steps one after the other, each value freed behind its last reader."""
from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from sparkq.engines.torch_graph.lowering import Step, lower
from sparkq.program.types import INPUT, Program

__all__ = ["TorchGraph", "Watch"]

Watch = Callable[[Step, Tensor], None]
"""Sees each step's result while it runs."""


class TorchGraph:
    """The steps of a program, ready to run.

    Parameters
    ----------
    program : Program
        Checked. Its constants are held as torch tensors, INT8 weights packed for the quantized backend that is set.
    watched : collection of str
        Values that are computed although the output does not need them, for a watch.
    plain : bool
        As for `lower`.
    """

    def __init__(self, program: Program, watched: Collection[str] = (), *, plain: bool = False) -> None:
        self.steps = lower(program, {program.output, *watched} - program.constants.keys(), plain=plain)
        names = [INPUT, *program.constants, *(step.name for step in self.steps)]
        slots = {name: slot for slot, name in enumerate(names)}
        used = {name for step in self.steps for name in step.inputs}
        self._values: list[Tensor | None] = [None] * len(names)
        for name, array in program.constants.items():
            if name in used:
                self._values[slots[name]] = torch.from_numpy(array.copy())
        last = {name: index for index, step in enumerate(self.steps) for name in (step.name, *step.inputs)}
        freed: list[list[int]] = [[] for _ in self.steps]
        for name, index in last.items():
            if name not in (INPUT, program.output) and name not in program.constants:
                freed[index].append(slots[name])
        self._calls: list[tuple[Callable[..., Any], tuple[int, ...], int, tuple[int, ...]]] = [
            (step.kernel, tuple(slots[name] for name in step.inputs), slots[step.name], tuple(freed[index]))
            for index, step in enumerate(self.steps)
        ]
        self._output = slots[program.output]

    def run(self, images: Tensor, watch: Watch | None = None) -> Tensor:
        """Run the steps: uint8 [N, H, W, 3] to the program's output."""
        values = self._values.copy()
        values[0] = images
        for index, (kernel, inputs, output, freed) in enumerate(self._calls):
            values[output] = result = kernel(*[values[slot] for slot in inputs])
            if watch is not None:
                watch(self.steps[index], result)
            for slot in freed:
                values[slot] = None
        output_value = values[self._output]
        assert output_value is not None
        return output_value
