"""From a torch module to payload bytes: normalization in front, traced, and proved to be the same function."""
from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import nn

from sparkq.config import PreprocessConfig
from sparkq.errors import ModelError
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.normalization import WithNormalization

__all__ = ["trace_payload"]

_TRACED_IMAGES = 2
_PROOF_BATCH = 3
_PROOF_IMAGES = 8
_HINT = "take sizes from x.shape (or use flatten(1)), not from a constant, and branches on pixel values out of forward()."


def trace_payload(model: nn.Module, preprocess: PreprocessConfig, calibration: CalibrationSet) -> bytes:
    """Trace `model` behind its normalization and save the unfrozen archive.

    The trace is run at batch sizes and on images that it was not recorded with, and compared with the module itself: a
    trace that remembers its batch size would shift predictions onto wrong rows, and one that met a branch on pixel
    values knows only the way that its own images took.

    Raises
    ------
    ModelError
        If it cannot be traced, if its output is not float [N, C], or if the trace differs.
    """
    deployed = WithNormalization(model, preprocess).eval()
    name = type(model).__name__
    example = _example(calibration, _TRACED_IMAGES)
    with warnings.catch_warnings(), torch.no_grad():
        # torch.jit is deprecated upstream, and a tracer warns of every shape that it takes for a constant: the
        # comparison below finds out whether one matters.
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(deployed, example, check_trace=False)  # type: ignore[no-untyped-call]
            stream = io.BytesIO()
            torch.jit.save(traced, stream)
        except Exception as error:
            raise ModelError(
                f"model {name}: expected one that torch.jit can trace on {list(example.shape)}; got "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}.",
                hint="check that preprocess gives the model's input size, and that forward() takes and returns one tensor.",
            ) from error
        _prove(deployed, traced, _example(calibration, _PROOF_BATCH), name)
        for image in calibration.images[:_PROOF_IMAGES]:
            _prove(deployed, traced, torch.from_numpy(image[np.newaxis]), name)
    return stream.getvalue()


def _example(calibration: CalibrationSet, images: int) -> torch.Tensor:
    return torch.from_numpy(np.resize(calibration.images, (images, *calibration.images.shape[1:])))


def _prove(deployed: nn.Module, traced: nn.Module, example: torch.Tensor, name: str) -> None:
    expected = deployed(example)
    if not isinstance(expected, torch.Tensor) or expected.ndim != 2 or not expected.is_floating_point():
        got = f"{expected.dtype} {list(expected.shape)}" if isinstance(expected, torch.Tensor) else type(expected).__name__
        raise ModelError(
            f"model {name}: expected an output of float [N, classes]; got {got}.",
            hint="wrap the model in a module whose forward() returns one score a class for each image, before any argmax.",
        )
    try:
        got_output = traced(example)
    except RuntimeError as error:
        raise ModelError(
            f"model {name}: expected any batch size; its trace fails at {len(example)} images.", hint=_HINT,
        ) from error
    if got_output.shape != expected.shape or not torch.allclose(got_output, expected, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise ModelError(
            f"model {name}: expected its trace to compute what it does; at {len(example)} images it differs.", hint=_HINT,
        )
