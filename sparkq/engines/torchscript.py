"""The engines inside torch share this: they load a TorchScript archive and run it on the CPU."""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sparkq.engines.base import LoadOptions
from sparkq.torchscript.archive import checked_torchscript

__all__ = ["TorchScriptEngine", "load_checked", "load_packed", "packing_for"]


class TorchScriptEngine:
    """A TorchScript archive that torch runs on the CPU.

    Parameters
    ----------
    payload : bytes
        An unfrozen archive.
    name : str
        Engine name, for the rows.
    threads : int, optional
        Threads that torch gets in this process, with one for running graphs side by side; None leaves both as they are.
    freeze : bool
        Fold what is constant. An INT8 graph runs no faster for it, and freezing takes as long as loading, and memory.
    images_a_pass : int, optional
        A larger batch is run in parts; None never does so.
    """

    def __init__(
        self, payload: bytes, name: str, *, threads: int | None, freeze: bool = True, images_a_pass: int | None = None,
    ) -> None:
        if threads is not None:
            _set_threads(threads)
        self.name = name
        self.images_a_pass = images_a_pass
        with warnings.catch_warnings():
            # torch.jit is deprecated upstream; the successor will be an engine of its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = load_checked(payload)
            self._module = torch.jit.freeze(module) if freeze else module

    @property
    def graph(self) -> Any:
        """The graph that `run` executes, with its calls inlined."""
        return self._module.inlined_graph

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run one forward pass: uint8 [N, H, W, 3] RGB to float32 [N, C]."""
        with torch.inference_mode():
            batch = torch.from_numpy(images)
            if self.images_a_pass is None or len(batch) <= self.images_a_pass:
                output: npt.NDArray[np.float32] = self._module(batch).numpy()
            else:
                starts = range(0, len(batch), self.images_a_pass)
                output = torch.cat([self._module(batch[start:start + self.images_a_pass]) for start in starts]).numpy()
        return output


def load_checked(payload: bytes) -> Any:
    """Load a payload as a module, once it is known to be able to do nothing but compute.

    Raises
    ------
    ArtifactFormatError
        If it could do more, such as read or write a file when it is loaded or run. Nothing of it has run then.
    """
    archive = checked_torchscript(payload, place="payload")
    return torch.jit.load(archive, map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        # Can be said once, before the first graph runs; a notebook's process may have run one.
        with suppress(RuntimeError):
            torch.set_num_interop_threads(1)


def load_packed(
    payload: bytes, name: str, options: LoadOptions, *, images_a_pass: int | None = None,
) -> TorchScriptEngine:
    """Load an INT8 payload with its weights packed for one of torch's quantized backends, which this node must offer."""
    with packing_for(name):
        return TorchScriptEngine(payload, name, threads=options.threads, freeze=False, images_a_pass=images_a_pass)


@contextmanager
def packing_for(name: str) -> Iterator[None]:
    """Pack the weights of archives that load in this context for one of torch's quantized backends.

    Each call then runs what was packed. The setting is the process's, so it is put back for whatever else runs here.
    """
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
