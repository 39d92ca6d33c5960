"""From a torch module to payload bytes: normalization in front, captured as a program, and proved to be the same for other images."""
from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparkq.config import PreprocessConfig
from sparkq.errors import ModelError
from sparkq.program.storage import dumps_program
from sparkq.quantization.calibration.image_set import CalibrationSet
from sparkq.quantization.capture.capture import capture_program
from sparkq.quantization.normalization import WithNormalization

__all__ = ["HINT", "deployed_model", "program_payload"]

_PROOF_IMAGES = 8
HINT = "take sizes from x.shape (or use flatten(1)), not from a constant, and branches on pixel values out of forward()."


def deployed_model(model: nn.Module, preprocess: PreprocessConfig) -> nn.Module:
    """Put a model behind its normalization: uint8 [N, H, W, 3] to the model's output."""
    return WithNormalization(model, preprocess).eval()


def program_payload(deployed: nn.Module, calibration: CalibrationSet, *, name: str) -> bytes:
    """Capture a model as a program, and write it.

    It is captured again on other images: a model that branches on pixel values, or computes a constant from them, is another
    program there, and would be wrong for every image that goes another way.

    Parameters
    ----------
    deployed : nn.Module
        From `deployed_model`.
    calibration : CalibrationSet
        What it is run on.
    name : str
        Of the model, for messages.

    Raises
    ------
    ModelError
        If a program cannot hold it, its output is not float [N, C], or its programs differ.
    """
    _require_vector(deployed, calibration.images[:2], name)
    payload = _payload(deployed, calibration.images, name)
    for start in range(2, _PROOF_IMAGES, 2):
        if _payload(deployed, np.roll(calibration.images, -start, 0)[:3], name) != payload:
            raise ModelError(f"model {name}: expected the same operators for every image; for others they differ.", hint=HINT)
    return payload


def _payload(deployed: nn.Module, images: npt.NDArray[np.uint8], name: str) -> bytes:
    try:
        return dumps_program(capture_program(deployed, images))
    except ModelError:
        raise
    # The user's code: anything may come out of it, for two images or for three.
    except Exception as error:
        raise ModelError(
            f"model {name}: expected any batch size; a forward pass fails with {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}.", hint=HINT,
        ) from error


def _require_vector(deployed: nn.Module, images: npt.NDArray[np.uint8], name: str) -> None:
    with torch.no_grad():
        output = deployed(torch.from_numpy(np.ascontiguousarray(images)))
    if not isinstance(output, torch.Tensor) or output.ndim != 2 or not output.is_floating_point():
        got = f"{output.dtype} {list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"model {name}: expected an output of float [N, classes]; got {got}.",
            hint="wrap the model in a module whose forward() returns one score a class for each image, before any argmax.",
        )
