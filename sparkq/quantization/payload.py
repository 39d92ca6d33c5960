"""From a torch module to payload bytes: normalization in front, captured as a program, the same for any image."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparkq.config import PreprocessConfig
from sparkq.errors import ModelError
from sparkq.metrics.sqnr import sqnr_of
from sparkq.program.storage import dumps_program
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.capture.capture import capture_program
from sparkq.quantization.normalization import WithNormalization

__all__ = ["HINT", "deployed_model", "program_payload", "require_same"]

_PROOF_IMAGES = 8
_INT8_SQNR_DB = 20.0
_LUCK_DB = 6.0
# 83 dB were seen of a MobileNetV2 whose outputs reach 80.
_FLOAT_SQNR_DB = 60.0
HINT = "take sizes from x.shape (or use flatten(1)), not from a constant, and branches on pixel values out of forward()."


def deployed_model(model: nn.Module, preprocess: PreprocessConfig) -> nn.Module:
    """Put a model behind its normalization: uint8 [N, H, W, 3] to the model's output."""
    return WithNormalization(model, preprocess).eval()


def program_payload(deployed: nn.Module, calibration: CalibrationSet, *, name: str) -> bytes:
    """Capture a model as a program, and write it.

    Parameters
    ----------
    deployed : nn.Module
        From `deployed_model`.
    calibration : CalibrationSet
        What it is run on: a few of its images together, and some one by one.
    name : str
        Of the model, for messages.

    Raises
    ------
    ModelError
        If a program cannot hold it, its output is not float [N, C], or it is another program for other images.
    """
    images = calibration.images
    try:
        with torch.no_grad():
            output = deployed(torch.from_numpy(np.ascontiguousarray(images[:1])))
    # The user's code: anything may come out of it.
    except Exception as error:
        raise _failed(name, list(images[:1].shape), error) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or not output.is_floating_point():
        got = f"{output.dtype} {list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"model {name}: expected an output of float [N, classes]; got {got}.",
            hint="wrap the model in a module whose forward() returns one score a class for each image, before any argmax.",
        )
    try:
        return dumps_program(capture_program(deployed, images, proofs=list(images[:_PROOF_IMAGES])))
    except ModelError as error:
        raise ModelError(error.message.replace("model:", f"model {name}:", 1), hint=error.hint) from error
    except Exception as error:
        raise ModelError(
            f"model {name}: expected any batch size; a forward pass fails with {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}.", hint=HINT,
        ) from error


def require_same(
    run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]], deployed: nn.Module, calibration: CalibrationSet, *,
    name: str, floating: nn.Module | None,
) -> None:
    """Hold what an engine makes of the payload against the module, image by image: neither was seen alone when it was captured.

    In float only the order of sums may differ. In INT8 a value between two steps may be rounded up by one kernel and down by
    another, and a network that rounding takes far from the float model hands that on as far: so the program may be as far from
    the module as 20 dB, or twice as far as the module is from the float model.

    Parameters
    ----------
    run : callable
        An engine's: uint8 [N, H, W, 3] to outputs.
    deployed : nn.Module
        What was captured.
    calibration : CalibrationSet
        Of which a few images are run.
    name : str
        Of the model, for messages.
    floating : nn.Module, optional
        The deployed float model, where `deployed` is an INT8 one.

    Raises
    ------
    ModelError
        If they differ.
    """
    for image in calibration.images[:_PROOF_IMAGES]:
        batch = np.ascontiguousarray(image[np.newaxis])
        with torch.no_grad():
            expected = deployed(torch.from_numpy(batch)).numpy()
        found = run(batch)
        if np.allclose(found, expected, rtol=1e-3, atol=1e-4, equal_nan=True):
            continue
        least = _FLOAT_SQNR_DB
        if floating is not None:
            with torch.no_grad():
                least = min(_INT8_SQNR_DB, sqnr_of(floating(torch.from_numpy(batch)).numpy(), expected) - _LUCK_DB)
        if not sqnr_of(expected, found) > least:
            raise ModelError(f"model {name}: expected its program to compute what it does; for one image it differs.", hint=HINT)


def _failed(name: str, shape: list[int], error: Exception) -> ModelError:
    return ModelError(
        f"model {name}: expected a forward pass on {shape}; got {type(error).__name__}: {' '.join(str(error).split())[:300]}.",
        hint="check that preprocess gives the model's input size, and that forward() takes and returns one tensor.",
    )
