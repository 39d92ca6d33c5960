"""Saturation of a quantized network is counted while its ordinary payload runs; nothing is added to the payload."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparkq.engines.base import Engine
from sparkq.engines.torchscript import TorchScriptEngine

__all__ = ["Observation", "observe"]

_PACKED_WEIGHTS = "_packed_params"


@dataclass(frozen=True)
class Observation:
    """The outputs of a forward pass, and how much of its activations saturated.

    Parameters
    ----------
    outputs : ndarray of float32 [N, C]
        As the engine gives them.
    names : tuple of str
        The L quantized activations in the order in which they are computed: layer, or operator and number.
    ranges : tuple of (float, float)
        The values that the smallest and the largest level of each stand for.
    saturated : ndarray of float64 [N, L]
        Share of each image's values at an end of the range; a lowest level that stands for zero is no end.
    """

    outputs: npt.NDArray[np.float32]
    names: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    saturated: npt.NDArray[np.float64]


class _ActivationWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """A watch that sees every operator's result, also TorchScript's, and keeps three numbers of each quantized one."""

    def __init__(self, levels: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.top = levels - 1
        self.operators: list[str] = []
        self.ranges: list[tuple[float, float]] = []
        self.shares: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _has_its_own_range(func.name()) and isinstance(result, Tensor) and result.dtype == torch.quint8:
            steps = result.int_repr().flatten(1)
            # With 7-bit activations the levels above are not clipped, but they lie outside the calibrated range.
            outside = steps >= self.top
            zero_point, scale = result.q_zero_point(), result.q_scale()
            if zero_point > 0:
                outside |= steps == 0
            self.operators.append(func.name().partition(".")[0])
            self.ranges.append((-zero_point * scale, (self.top - zero_point) * scale))
            self.shares.append(outside.sum(1, dtype=torch.float64) / steps.shape[1])
        return result


def _has_its_own_range(operator: str) -> bool:
    # Other operators (a maximum, a flatten, a concatenation) hand the range of their input on.
    own = operator.startswith("quantized::") and not operator.startswith("quantized::cat")
    return own or operator.partition(".")[0] == "aten::quantize_per_tensor"


def observe(engine: Engine, images: npt.NDArray[np.uint8], *, levels: int | None) -> Observation:
    """Run one forward pass and count values at the ends of the calibrated ranges.

    Parameters
    ----------
    engine : Engine
        An engine that torch runs.
    images : ndarray of uint8 [N, H, W, 3]
        RGB.
    levels : int, optional
        How many levels activations were calibrated to: 256, or 128 for target ``avx2``. None watches none of them.
    """
    if levels is None:
        return Observation(engine.run(images), (), (), np.zeros((len(images), 0)))
    # A larger batch would run every operator once for each part of it.
    a_pass = (engine.images_a_pass if isinstance(engine, TorchScriptEngine) else None) or max(len(images), 1)
    parts = [_observe_pass(engine, images[start:start + a_pass], levels) for start in range(0, max(len(images), 1), a_pass)]
    first = parts[0]
    return Observation(
        np.concatenate([part.outputs for part in parts]), first.names, first.ranges,
        np.concatenate([part.saturated for part in parts]),
    )


def _observe_pass(engine: Engine, images: npt.NDArray[np.uint8], levels: int) -> Observation:
    with _ActivationWatch(levels) as watch:
        outputs = engine.run(images)
    shares = torch.stack(watch.shares, 1).numpy() if watch.shares else np.zeros((len(images), 0))
    return Observation(outputs, _names(engine, watch.operators), tuple(watch.ranges), shares)


def _names(engine: Engine, operators: list[str]) -> tuple[str, ...]:
    """Name operators by the layer that their weights come from, where the graph says so, else by operator and number."""
    layers: list[str | None] = [None] * len(operators)
    if isinstance(engine, TorchScriptEngine):
        nodes = [node for node in engine.graph.nodes() if _has_its_own_range(node.kind())]
        # Only if torch ran exactly the operators of the graph, in its order, is the n-th one the n-th one.
        if [node.kind() for node in nodes] == operators:
            layers = [_layer(node) for node in nodes]
    names, seen = [], dict.fromkeys(operators, 0)
    for operator, layer in zip(operators, layers, strict=True):
        names.append(layer or f"{operator.partition('::')[2]}_{seen[operator]}")
        seen[operator] += 1
    return tuple(names)


def _layer(node: Any) -> str | None:
    for source in node.inputs():
        path = _attribute_path(source.node())
        if path and path[-1] == _PACKED_WEIGHTS:
            return ".".join(path[:-1]).removeprefix("model.")
    return None


def _attribute_path(node: Any) -> list[str]:
    """Return the names on the way from the whole module to the attribute that `node` reads; empty where it reads none."""
    if node.kind() != "prim::GetAttr":
        return []
    return [*_attribute_path(next(node.inputs()).node()), str(node.s("name"))]
