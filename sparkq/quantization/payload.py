"""From a torch module to payload bytes: normalization in front, captured as a program, the same for any image."""
from __future__ import annotations

import numpy as np
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


def _failed(name: str, shape: list[int], error: Exception) -> ModelError:
    return ModelError(
        f"model {name}: expected a forward pass on {shape}; got {type(error).__name__}: {' '.join(str(error).split())[:300]}.",
        hint="check that preprocess gives the model's input size, and that forward() takes and returns one tensor.",
    )
