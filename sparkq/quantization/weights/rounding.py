"""Fitted weights and biases: an INT8 model's layers, one after the other, fitted to the float model's on calibration images.

- Each layer is fitted to what the float layer gives on the float model's activations, while it itself reads what the INT8 model
  gives, so that it makes up for the errors before it.
- Weights: the least-squares solution rounded column by column, each column's error handed on to those left (Frantar et al. 2022,
  "Optimal Brain Compression", and 2023, "GPTQ", section 3, with the inputs of the quantized network).
- Biases: the mean error is taken off (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
  Correction", section 4.2, measured instead of derived).
- Scales and biases stay on the grid of `sparkq.quantization.scales.ties`, if ties are avoided.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.ao.nn import quantized as nnq

from sparkq.quantization.scales.depthwise import LARGEST_PAIR, is_depthwise, largest_pairs
from sparkq.quantization.scales.ties import off_tie_biases, scale_grid, snap
from sparkq.quantization.scales.torch_observers import pair_scales, weight_scales
from sparkq.quantization.steps import counted
from sparkq.quantization.weights.codebook import Codebook, Compression, fit_codebook, project, refit_kept, spared_layers
from sparkq.quantization.weights.moments import Moments, input_moments
from sparkq.quantization.weights.stepping import Stepper

__all__ = ["fit_layers", "round_least_squares"]

_DAMPING = 0.01
_BLOCK = 32
# In multiples of the inputs' mean power. With less, the fit makes up for earlier errors that held-out images do not have.
_SHRINKAGE = 1.0
_PAIR_TRIES = 8
_PAIR_STEP = 1.02
_Layer = nnq.Conv2d | nnq.Linear
_UNCOMPRESSED = Compression()


@dataclass(frozen=True)
class _Options:
    round_weights: bool
    correct_biases: bool
    limit_pairs: bool
    avoid_ties: bool
    compression: Compression


def fit_layers(
    quantized: fx.GraphModule, reference: fx.GraphModule, batches: list[Tensor], *, round_weights: bool = True,
    correct_biases: bool = True, limit_pairs: bool = True, avoid_ties: bool = True, compression: Compression = _UNCOMPRESSED,
) -> None:
    """Change the weights (and biases) of `quantized` in place, from its input to its output.

    Parameters
    ----------
    quantized : GraphModule
        From torch's convert_fx.
    reference : GraphModule
        The float graph with the same module names.
    batches : list of Tensor
        Normalized images.
    round_weights, correct_biases : bool
        What to change.
    limit_pairs : bool
        Keep depthwise weights small enough for fbgemm's 16-bit sums.
    avoid_ties : bool
        Weight scales and biases with which no engine has to round from the middle.
    compression : Compression
        Few distinct weights; without `round_weights` the nearest ones.
    """
    options = _Options(round_weights, correct_biases, limit_pairs, avoid_ties, compression)
    spared = spared_layers({
        name: layer.weight()  # type: ignore[no-untyped-call]
        for name, layer in quantized.named_modules() if isinstance(layer, (nnq.Conv2d, nnq.Linear))
    })
    stepper, float_stepper = Stepper(quantized, batches), Stepper(reference, batches)
    fitted = [node for node in quantized.graph.nodes if _is_fitted(quantized, node)]
    for node in counted("fitting layers", fitted):
        layer = quantized.get_submodule(str(node.target))
        assert isinstance(layer, (nnq.Conv2d, nnq.Linear))
        float_layer = reference.get_submodule(str(node.target))
        inputs = stepper.inputs_of(str(node.target))
        measured = options.round_weights or options.correct_biases
        moments = input_moments(
            layer, float_stepper.inputs_of(str(node.target)), inputs, only_means=not options.round_weights,
        ) if measured else None
        settles = options.avoid_ties and not _is_last(layer, node)
        asked = replace(options, compression=_UNCOMPRESSED) if str(node.target) in spared else options
        _fit(layer, float_layer, moments, asked, (inputs[0].q_scale(), inputs[0].q_zero_point()) if settles else None)


def _is_last(layer: _Layer, node: fx.Node) -> bool:
    # Whose sums are answers in float, or the last that are rounded.
    return isinstance(layer, nnq.Linear) and all(user.target == "dequantize" for user in node.users)


def _is_fitted(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op != "call_module" or not isinstance(graph.get_submodule(str(node.target)), (nnq.Conv2d, nnq.Linear)):
        return False
    return bool(sum(other.op == "call_module" and other.target == node.target for other in graph.graph.nodes) == 1)


def _fit(
    layer: _Layer, float_layer: nn.Module, moments: Moments | None, options: _Options, input_steps: tuple[float, int] | None,
) -> None:
    """Fit weights and bias; with the input's scale and zero point, so that no sum lies on a tie."""
    packed = layer.weight()  # type: ignore[no-untyped-call]
    groups = layer.groups if isinstance(layer, nnq.Conv2d) else 1
    shape = groups, packed.shape[0] // groups, packed[0].numel()
    weight = float_layer.weight.detach().double().reshape(shape)  # type: ignore[operator]
    bias = float_layer.bias
    fitted = bias.detach() if isinstance(bias, Tensor) else torch.zeros(packed.shape[0])
    grid = None
    if input_steps is not None:
        shift = input_steps[0] * input_steps[1] * weight.sum(2).flatten()
        grid = scale_grid(input_steps[0], layer.scale, fitted.double().abs() + shift.abs())
    if moments is not None and options.round_weights:
        integers, scales = round_least_squares(
            weight, moments.cross, moments.gram, limit_pairs=options.limit_pairs and is_depthwise(packed), grid=grid,
            compression=options.compression,
        )
        packed = _packed(integers, scales.flatten(), packed.shape)
    elif grid is not None or options.compression:
        scales = snap(packed.q_per_channel_scales(), grid, up=True)
        rows = weight.flatten(0, 1)
        nearest = project(rows, scales, options.compression) if options.compression else (rows / scales[:, None]).round()
        packed = _packed(nearest.clamp(-128, 127), scales, packed.shape)
    if moments is not None and options.correct_biases:
        rounded = packed.dequantize().double().reshape(weight.shape)
        shift = torch.einsum("gok,gk->go", weight, moments.mean_x) - torch.einsum("gok,gk->go", rounded, moments.mean_q)
        fitted = (fitted.double() + shift.flatten()).float()
    if grid is not None and input_steps is not None:
        fitted = off_tie_biases(fitted, grid, input_steps[0])
    layer.set_weight_bias(packed, fitted)


def _packed(integers: Tensor, scales: Tensor, shape: torch.Size) -> Tensor:
    rows = integers.reshape(len(scales), -1)
    values = (rows * scales.to(rows)[:, None]).reshape(shape).float()
    return torch.quantize_per_channel(values, scales.double(), torch.zeros(len(scales), dtype=torch.int64), 0, torch.qint8)


def round_least_squares(
    weight: Tensor, cross: Tensor, gram: Tensor, *, limit_pairs: bool = False, grid: Tensor | None = None,
    compression: Compression = _UNCOMPRESSED,
) -> tuple[Tensor, Tensor]:
    """Integers and scales so that ``integers * scales`` on inputs q comes closest to ``weight`` on inputs x.

    Parameters
    ----------
    weight : Tensor
        float64 [G, O, K]; G groups.
    cross, gram : Tensor
        Second moments x q' and q q', float64 [G, K, K].
    limit_pairs : bool
        No two integers of one sign in a row may sum to more than ``sparkq.quantization.scales.depthwise.LARGEST_PAIR``; such
        weights are not compressed.
    grid : Tensor, optional
        What each scale is a multiple of, [G * O].
    compression : Compression
        Few distinct integers: what leaving out and sharing costs is made up for by the other weights, as what rounding
        costs (Frantar & Alistarh 2023, "SparseGPT", section 3).

    Returns
    -------
    (Tensor, Tensor)
        Integers -128 to 127 as float64 [G, O, K], scales [G, O].
    """
    groups, outputs, taps = weight.shape
    diagonal = gram.diagonal(dim1=1, dim2=2)
    ridge = (_DAMPING * diagonal.mean(1)).clamp_min(1e-12)[:, None]
    damped = _with_ridge(gram, ridge)
    # Towards the float weights where the inputs say little: (W C + r W) (H + r)^-1.
    shrink = ridge * (_SHRINKAGE / _DAMPING)
    shrunk = _with_ridge(gram, shrink)
    target = torch.cholesky_solve((weight @ cross).add_(weight * shrink[..., None]).mT, torch.linalg.cholesky(shrunk)).mT
    if compression.pruning and not limit_pairs:
        target = refit_kept(target, shrunk, compression.pruning)
    rows = target.reshape(-1, taps)
    if not limit_pairs:
        importance = diagonal.clamp_min(1e-12)[:, None, :].expand_as(target).reshape(-1, taps)
        scales = weight_scales(rows, importance, grid=grid)
        codebook = fit_codebook(rows, scales, compression, importance=importance) if compression else None
        scales = scales.view(groups, outputs)
        return _round_columns(target, damped, scales, codebook), scales
    scales = snap(pair_scales(rows), grid, up=True).view(groups, outputs)
    for _ in range(_PAIR_TRIES):
        integers = _round_columns(target, damped, scales)
        over = largest_pairs(integers.reshape(-1, taps)).view(groups, outputs) > LARGEST_PAIR
        if not over.any():
            return integers, scales
        larger = snap((scales * _PAIR_STEP).flatten(), grid, up=True).view(groups, outputs)
        scales = torch.where(over, larger, scales)
    scales = snap(pair_scales(rows), grid, up=True).view(groups, outputs)
    return (target / scales[..., None]).round(), scales


def _with_ridge(gram: Tensor, ridge: Tensor) -> Tensor:
    """`gram` [G, K, K] with `ridge` [G, 1] added to its diagonal."""
    changed = gram.clone()
    changed.diagonal(dim1=1, dim2=2).add_(ridge)
    return changed


def _round_columns(target: Tensor, damped: Tensor, scales: Tensor, codebook: Codebook | None = None) -> Tensor:
    """Round `target` [G, O, K] one input at a time, the strongest first, and move each error onto the inputs left.

    Within a block of inputs at once, onto those behind the block as one matrix product (GPTQ, section 3.3, "Lazy
    Batch-Updates"): a column at a time, memory traffic takes minutes for a network like ResNet-50.
    """
    order = damped.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    ordered = damped.gather(1, order[..., None].expand_as(damped)).gather(2, order[:, None, :].expand_as(damped))
    upper = _inverse_factor(ordered).to(torch.float32)
    forth = order[:, :, None].expand_as(target.mT)
    # Inputs first: what a column's error is spread over lies side by side.
    rest = target.mT.gather(1, forth).to(torch.float32)
    kept = None if codebook is None else codebook.kept.view_as(target).mT.gather(1, forth)
    narrow = scales.to(torch.float32)
    integers = torch.empty_like(rest)
    for start in range(0, target.shape[2], _BLOCK):
        end = min(start + _BLOCK, target.shape[2])
        errors = torch.empty_like(rest[:, start:end])
        for column in range(start, end):
            current = rest[:, column]
            if codebook is None or kept is None:
                integers[:, column] = (current / narrow).round_().clamp_(-128, 127)
            else:
                integers[:, column] = codebook.nearest(current / narrow, kept[:, column])
            error = (current - integers[:, column] * narrow) / upper[:, column, column, None]
            rest[:, column + 1:end].sub_(upper[:, column, column + 1:end, None] * error[:, None, :])
            errors[:, column - start] = error
        rest[:, end:].sub_(upper[:, start:end, end:].mT @ errors)
    back = order.argsort(1)[:, :, None].expand_as(integers)
    return integers.gather(1, back).mT.double()


def _inverse_factor(matrix: Tensor) -> Tensor:
    """The upper triangular U with U' U = matrix^-1, [G, K, K]: the inverse of the upper factor R of matrix = R R'."""
    lower = torch.linalg.cholesky(matrix.flip(1, 2))
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype).expand_as(matrix)
    inverse: Tensor = torch.linalg.solve_triangular(lower.flip(1, 2), identity, upper=True)
    return inverse
