"""Observed models as bytes, for executors: a float program that torch runs there, and what to count of which of its values."""
from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sparkq.engines.torch_graph.graph import TorchGraph
from sparkq.engines.torch_graph.lowering import Step
from sparkq.program.storage import dumps_program, loads_program
from sparkq.program.types import INPUT
from sparkq.quantization.calibration.observed_model import ChannelExtremesOf, CountsOf, ObservedModel, Run
from sparkq.quantization.capture.capture import capture_values

__all__ = ["dumps_observed", "load_observed"]

_KINDS: dict[str, type[CountsOf]] = {kind.__name__: kind for kind in (CountsOf, ChannelExtremesOf)}


class _Values(nn.Module):
    """The tensors that an observed model observes: its observers hand them on while it is captured."""

    def __init__(self, observed: ObservedModel) -> None:
        super().__init__()
        self.observed = observed

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 [N, H, W, 3] to the tensors."""
        return tuple(value for value, _ in self.observed(images, torch.tensor(len(images))))


def dumps_observed(model: ObservedModel, image: npt.NDArray[np.uint8]) -> bytes:
    """Write an observed model: one line of JSON, and a program that needs none of the model's classes. On the driver.

    Parameters
    ----------
    model : ObservedModel
        As it runs on the driver.
    image : ndarray of uint8 [H, W, 3]
        What it is captured on.

    Raises
    ------
    ModelError
        If a program cannot hold it.
    """
    program, names = capture_values(_Values(model).eval(), image[np.newaxis])
    kinds = {type(module).__name__ for module in model.graph.modules() if isinstance(module, CountsOf)}
    head = {"kind": kinds.pop(), "batch_size": model.batch_size, "names": names}
    return json.dumps(head).encode() + b"\n" + dumps_program(program)


class _Loaded:
    """An observed model on a Python worker: it counts while the program runs, and keeps no tensor longer than that."""

    def __init__(self, data: bytes) -> None:
        head, _, program = data.partition(b"\n")
        described = json.loads(head)
        self._names: list[str] = described["names"]
        self._observer = _KINDS[described["kind"]](described["batch_size"])
        found = loads_program(program)
        self._graph = TorchGraph(found, self._names)
        self._constants = {
            name: torch.from_numpy(found.constants[name].copy()) for name in self._names if name in found.constants
        }

    def __call__(self, images: Tensor, rows: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Count a batch, uint8 [batch_size, H, W, 3], of which the first `rows` images count."""
        wanted = set(self._names)
        seen = {name: self._observer(value, rows) for name, value in {INPUT: images, **self._constants}.items() if name in wanted}

        def watch(step: Step, result: Tensor) -> None:
            if step.name in wanted:
                seen[step.name] = self._observer(result, rows)

        self._graph.run(images, watch)
        return [seen[name] for name in self._names]


def load_observed(data: bytes) -> Run:
    """Load the bytes of `dumps_observed`, ready to run. On a Python worker."""
    return _Loaded(data)
