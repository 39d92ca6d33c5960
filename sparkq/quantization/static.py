"""Static recipe: FX graph mode, fbgemm backend config, calibrated activations, per-channel weights."""
from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.ao.quantization import (
    HistogramObserver,
    MinMaxObserver,
    QConfig,
    QConfigMapping,
    default_per_channel_weight_observer,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.backend_config import get_fbgemm_backend_config
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.errors import ModelError
from sparkq.exported import traceable
from sparkq.quantization.calibration import CalibrationSet
from sparkq.quantization.normalization import normalize

__all__ = ["float_layers", "quantize_static"]

_OBSERVERS: dict[str, Any] = {"histogram": HistogramObserver, "min_max": MinMaxObserver}


def quantize_static(
    model: nn.Module, calibration: CalibrationSet, preprocess: PreprocessConfig, config: QuantizationConfig,
) -> nn.Module:
    """Quantize a float model, which is left as it was.

    Parameters
    ----------
    model : nn.Module
        In eval mode; takes float32 [N, 3, H, W].
    calibration : CalibrationSet
        What the activations' ranges are measured on.
    preprocess : PreprocessConfig
        How its input is normalized.
    config : QuantizationConfig
        Observer and batch size.

    Raises
    ------
    ModelError
        If torch cannot trace, prepare or convert it.
    """
    example = normalize(torch.from_numpy(calibration.images[:1]), preprocess)
    backend = get_fbgemm_backend_config()
    with _quietly(), torch.no_grad():
        graphed = traceable(model, example)
        try:
            prepared = prepare_fx(copy.deepcopy(graphed), _qconfig_mapping(config), (example,), backend_config=backend)
        # A tracer runs the user's code: anything may come out of it.
        except Exception as error:
            raise ModelError(
                f"model {type(model).__name__}: expected one that torch.fx can trace; got {_one_line(error)}.",
                hint="take control flow that depends on tensor values or sizes out of forward(), or wrap it in a module "
                "that torch.fx treats as a leaf.",
            ) from error
        for start in range(0, len(calibration.images), config.batch_size):
            batch = torch.from_numpy(calibration.images[start:start + config.batch_size])
            _calibrate(prepared, normalize(batch, preprocess), type(model).__name__)
        try:
            return convert_fx(prepared, backend_config=backend)
        except Exception as error:
            raise ModelError(
                f"model {type(model).__name__}: expected one that torch can convert to INT8; got {_one_line(error)}.",
                hint="recipe none keeps it in float.",
            ) from error


def _calibrate(prepared: nn.Module, batch: torch.Tensor, name: str) -> None:
    try:
        prepared(batch)
    # The user's code and its operators: an index out of range is an IndexError, not a RuntimeError.
    except Exception as error:
        raise ModelError(
            f"model {name}: expected a forward pass on {list(batch.shape)}; got {_one_line(error)}.",
            hint="check preprocess: crop or resize.size is the model's input size.",
        ) from error


def _qconfig_mapping(config: QuantizationConfig) -> QConfigMapping:
    # 7-bit activations (reduce_range), torch's default for fbgemm: without VNNI its kernels add pairs of products in
    # 16 bits, which saturate with 8-bit activations.
    activation = _OBSERVERS[config.observer].with_args(dtype=torch.quint8, reduce_range=True)
    qconfig = QConfig(activation=activation, weight=default_per_channel_weight_observer)  # type: ignore[no-untyped-call]
    # In 8 bits a softmax over 1000 classes is 0 almost everywhere; the functional one torch leaves in float anyway.
    return get_default_qconfig_mapping("fbgemm").set_global(qconfig).set_object_type(nn.Softmax, None)


def float_layers(model: nn.Module) -> tuple[str, ...]:
    """Names of the convolutions and linear layers that a converted model still computes in float."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
    return tuple(name for name, module in model.named_modules() if isinstance(module, kinds))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def _quietly() -> Iterator[None]:
    # torch.ao.quantization is deprecated upstream (this package is the one place that uses it), and observers warn of
    # things that are so on purpose, such as reduce_range.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
