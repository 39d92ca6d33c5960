"""The float model as a calibration pass runs it, on the driver as on executors: pixels in, states of observed tensors out."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.ao.quantization.observer import ObserverBase

from sparkq.config import PreprocessConfig
from sparkq.errors import ModelError
from sparkq.quantization.calibration.histogram import count_values
from sparkq.quantization.calibration.observations import Observations
from sparkq.quantization.graph_edits import pass_by
from sparkq.quantization.normalization import WithNormalization, normalize
from sparkq.quantization.steps import counted

__all__ = ["ChannelExtremesOf", "CountsOf", "Observe", "ObservedModel", "observe_batches", "observed_model"]

_STEP = "looking at activations"
Run = Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]]


def _first_rows(x: Tensor, rows: Tensor, batch_size: int) -> Tensor:
    return x[:x.size(0) // batch_size * int(rows)]


class CountsOf(nn.Module):
    """Observes a tensor's values: what `count_values` gives.

    Parameters
    ----------
    batch_size : int
        Images a forward pass.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def forward(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Look at the first `rows` (int64 []) images of `x` [N, ...] alone."""
        return count_values(_first_rows(x, rows, self.batch_size))

    def reference(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Hand the tensor on: a program holds what is observed, and not how it is counted."""
        return x, x


class ChannelExtremesOf(CountsOf):
    """Observes the lowest and highest value of each channel, float32 [C] each."""

    def forward(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Look at the first `rows` (int64 []) images of `x` [N, C, ...] alone."""
        channels = _first_rows(x, rows, self.batch_size).transpose(0, 1).flatten(1)
        return channels.amin(1), channels.amax(1)


Observe = Callable[[fx.GraphModule, Sequence[fx.Node], type[CountsOf]], Observations]
"""A function that gives the observations of all calibration images at these nodes of a float graph."""


class ObservedModel(nn.Module):
    """uint8 [batch_size, H, W, 3] RGB and the number of rows that count to one pair of tensors an observed tensor.

    Parameters
    ----------
    graph : GraphModule
        Normalized images and rows to pairs.
    preprocess : PreprocessConfig
        How its input is normalized.
    batch_size : int
        Images of every forward pass. Float kernels are chosen by the batch's shape and differ in the last digits, so a
        pass of another size would see other values.
    """

    def __init__(self, graph: fx.GraphModule, preprocess: PreprocessConfig, batch_size: int) -> None:
        super().__init__()
        self.graph = graph
        self.normalization = WithNormalization(nn.Identity(), preprocess)
        self.batch_size = batch_size

    def forward(self, images: Tensor, rows: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """Run the float model as far as the observed tensors need it."""
        pairs: tuple[tuple[Tensor, Tensor], ...] = self.graph(self.normalization.normalized(images), rows)
        return pairs


def observe_batches(
    run: Run, batches: Iterable[npt.NDArray[np.uint8]], batch_size: int, *, at_once: int = 1,
) -> Observations:
    """Run an observed model over images: the one loop of the driver and of executors.

    Parameters
    ----------
    run : callable
        An `ObservedModel`, or one that `sparkq.quantization.calibration.observed_program` loaded.
    batches : iterable of ndarray of uint8 [n, H, W, 3]
        With n at most `batch_size`; a smaller batch is filled up with its own images, which are not counted again.
    batch_size : int
        That of the model.
    at_once : int
        Batches that run side by side, each in one thread. With more than one, all batches are in memory.

    Raises
    ------
    ModelError
        If the model fails on an image.
    """
    observations = Observations()
    observed = partial(_observed, run, batch_size=batch_size)
    total = len(batches) if isinstance(batches, Sized) else None
    if at_once == 1:
        for found in counted(_STEP, map(observed, batches), total):
            observations.merge(found)
        return observations
    with ThreadPoolExecutor(at_once) as threads:
        for found in counted(_STEP, threads.map(observed, batches), total):
            observations.merge(found)
    return observations


def _observed(run: Run, batch: npt.NDArray[np.uint8], batch_size: int) -> Observations:
    full = np.ascontiguousarray(np.resize(batch, (batch_size, *batch.shape[1:])))
    with torch.no_grad(), _one_thread(), _failures_named(full.shape):
        return Observations.of(run(torch.from_numpy(full), torch.tensor(len(batch))))


@contextmanager
def _one_thread() -> Iterator[None]:
    # How many threads share a convolution changes its last digits, and executors and drivers have different numbers.
    # Each thread of Python's has a number of its own.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _failures_named(shape: tuple[int, ...]) -> Iterator[None]:
    try:
        yield
    # The user's operators: anything may come out of them.
    except Exception as error:
        raise ModelError(
            f"model: expected a forward pass on calibration images, {list(shape)}; got {type(error).__name__}: "
            f"{(str(error).strip() or 'no message').splitlines()[0][:300].rstrip('.:')}.",
            hint="the model must take any image of its input size.",
        ) from error


def observed_model(
    graph: fx.GraphModule, nodes: Sequence[fx.Node], kind: type[CountsOf], preprocess: PreprocessConfig, *, batch_size: int,
    images: npt.NDArray[np.uint8],
) -> ObservedModel:
    """The part of a float graph that computes `nodes`, with an observer at each.

    Parameters
    ----------
    graph : GraphModule
        float32 [N, 3, H, W] to anything; left as it was. Observers of torch's in it are passed by.
    nodes : sequence of Node
        Whose tensors are observed.
    kind : type
        `CountsOf` or `ChannelExtremesOf`.
    preprocess : PreprocessConfig
        How its input is normalized.
    batch_size : int
        Images a forward pass. It becomes 1 where images do not stand one after the other in an observed tensor (a
        transposed one, a constant): of those, no rows could be left out.
    images : ndarray of uint8 [1 or more, H, W, 3]
        To find that out.
    """
    if not _images_stand_in_rows(graph, nodes, preprocess, images):
        batch_size = 1
    copied, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    copied.graph_copy(graph.graph, copies)
    last_input = [node for node in copied.nodes if node.op == "placeholder"][-1]
    with copied.inserting_after(last_input):
        rows = copied.placeholder("observed_rows")
    pairs = []
    for number, node in enumerate(nodes):
        name = f"observed_{number}"
        graph.add_submodule(name, kind(batch_size))
        with copied.inserting_after(rows if node.op == "placeholder" else copies[node]):
            pairs.append(copied.call_module(name, (copies[node], rows)))
    for node in list(copied.nodes):
        if node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), ObserverBase):
            pass_by(node)
    copied.output(tuple(pairs))
    observed = fx.GraphModule(graph, copied)
    observed.graph.eliminate_dead_code()
    observed.delete_all_unused_submodules()
    observed.recompile()
    for number in range(len(nodes)):
        graph.delete_submodule(f"observed_{number}")
    return ObservedModel(observed.eval(), preprocess, batch_size)


def _images_stand_in_rows(
    graph: fx.GraphModule, nodes: Sequence[fx.Node], preprocess: PreprocessConfig, images: npt.NDArray[np.uint8],
) -> bool:
    one, two = (_shapes(graph, nodes, normalize(torch.from_numpy(np.resize(images, (count, *images.shape[1:]))), preprocess))
                for count in (1, 2))
    return all(
        len(first) > 0 and second == (2 * first[0], *first[1:]) for first, second in zip(one, two, strict=True)
    )


def _shapes(graph: fx.GraphModule, nodes: Sequence[fx.Node], batch: Tensor) -> list[tuple[int, ...]]:
    found: dict[fx.Node, tuple[int, ...]] = {}
    wanted = set(nodes)

    class _Shapes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if n in wanted:
                found[n] = tuple(value.shape)
            return value

    with torch.no_grad(), _failures_named(tuple(batch.shape)):
        _Shapes(graph).run(batch)
    return [found[node] for node in nodes]
