"""The engines inside torch share this: they load a program and run it on the CPU."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import numpy.typing as npt
import torch

from sparkq.engines.base import LoadOptions
from sparkq.engines.torch_graph.graph import TorchGraph, Watch
from sparkq.engines.torch_graph.lowering import Step
from sparkq.program.storage import loads_program
from sparkq.program.types import Program

__all__ = ["TorchEngine", "has_quantized_dtypes", "load_packed", "packing_for"]


class TorchEngine:
    """A program that torch runs on the CPU.

    Parameters
    ----------
    program : Program
        Checked.
    name : str
        Engine name, for the rows.
    threads : int, optional
        Threads that torch gets in this process, with one for running graphs side by side; None leaves both as they are.
    images_a_pass : int, optional
        A larger batch is run in parts; None never does so.
    plain : bool
        Run it without torch's quantized dtypes.
    """

    def __init__(
        self, program: Program, name: str, *, threads: int | None, images_a_pass: int | None = None, plain: bool = False,
    ) -> None:
        if threads is not None:
            _set_threads(threads)
        self.name = name
        self.images_a_pass = images_a_pass
        self._graph = TorchGraph(program, plain=plain)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The kernel calls of a forward pass, in their order."""
        return tuple(self._graph.steps)

    def run(self, images: npt.NDArray[np.uint8], watch: Watch | None = None) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C].

        Parameters
        ----------
        images : ndarray of uint8 [N, H, W, 3]
            RGB.
        watch : callable, optional
            Sees each step's result; of a batch that is run in parts, once a part.
        """
        with torch.inference_mode():
            batch = torch.from_numpy(images)
            if self.images_a_pass is None or len(batch) <= self.images_a_pass:
                output: npt.NDArray[np.float32] = self._graph.run(batch, watch).numpy()
            else:
                starts = range(0, len(batch), self.images_a_pass)
                parts = [self._graph.run(batch[start:start + self.images_a_pass], watch) for start in starts]
                output = torch.cat(parts).numpy()
        return output


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        # Can be said once, before the first graph runs; a notebook's process may have run one.
        with suppress(RuntimeError):
            torch.set_num_interop_threads(1)


def has_quantized_dtypes() -> bool:
    """Tell whether this torch still has tensors of quantized dtypes, and operators on them."""
    return hasattr(torch, "quint8") and hasattr(torch.ops.quantized, "conv2d_relu")


def load_packed(
    payload: bytes, name: str, options: LoadOptions, *, images_a_pass: Callable[[Program], int] | None = None,
) -> TorchEngine:
    """Load an INT8 payload with its weights packed for one of torch's quantized backends, which this node must offer.

    Parameters
    ----------
    payload : bytes
        A program.
    name : str
        Of the engine and of the backend.
    options : LoadOptions
        Its threads.
    images_a_pass : callable, optional
        Says of a program in parts of how many images a batch is run; None runs batches whole.

    Raises
    ------
    ArtifactFormatError
        If it is no program.
    EngineError
        If torch has no kernel for a node.
    """
    program = loads_program(payload)
    with packing_for(name):
        return TorchEngine(program, name, threads=options.threads, images_a_pass=images_a_pass and images_a_pass(program))


@contextmanager
def packing_for(name: str) -> Iterator[None]:
    """Pack the weights of what is loaded in this context for one of torch's quantized backends.

    Each call then runs what was packed. The setting is the process's, so it is put back for whatever else runs here.
    """
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        with warnings.catch_warnings():
            # torch's quantized dtypes are deprecated upstream, while no other kernels give the same bits.
            warnings.simplefilter("ignore")
            # torch says so once, at the first tensor of the kind: now rather than in the middle of a job.
            torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
            yield
    finally:
        torch.backends.quantized.engine = before
