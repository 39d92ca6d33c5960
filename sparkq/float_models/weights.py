"""Weights of a float model: read without executing anything that a file holds, and checked before they are loaded."""
from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from sparkq.errors import ModelError
from sparkq.float_models.onnx import read_initializers
from sparkq.storage import open_stored_zip, read_file

__all__ = ["load_weights", "read_weights"]

# Checkpoints of training scripts hold the state_dict under one of these keys.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
_HINT = "the weights belong to another architecture, or to another number of classes."
_ONNX_HINT = "exporters rename weights and fold BatchNorm into them: take the file as the model, onnx:FILE."


def read_weights(path: str) -> Mapping[str, torch.Tensor]:
    """Read names and tensors of a ``.safetensors`` file, an ONNX file's initializers, or a state_dict of ``torch.save``.

    Raises
    ------
    InputError
        If the file cannot be read.
    ModelError
        If it holds anything else.
    """
    if path.endswith(".onnx"):
        return read_initializers(path)
    data = read_file(path, what="weights")
    try:
        if path.endswith(".safetensors"):
            return load_safetensors(data)
        if zipfile.is_zipfile(io.BytesIO(data)):
            # torch allocates what an entry announces.
            open_stored_zip(data).close()
        # weights_only: an unpickler that builds tensors and containers, and nothing that a file could bring along.
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    # The restricted unpickler answers damage with whatever it meets first: IndexError, struct.error, AssertionError ...
    except Exception as error:
        raise ModelError(
            f"weights {path}: expected a .safetensors file or a state_dict that torch.load reads with weights_only=True; got "
            f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'nothing'}.",
            hint="save model.state_dict(), not the model.",
        ) from error
    for key in _STATE_DICT_KEYS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise ModelError(
            f"weights {path}: expected names and tensors; got {type(loaded).__name__}.", hint="save model.state_dict().",
        )
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"weights {path}: expected names and tensors; got {name!r} with a {type(value).__name__}.",
                hint="save model.state_dict().",
            )
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ModelError(
                f"weights {path}: expected ordinary tensors; got {name!r} as one of {value.dtype}, {value.layout}, on "
                f"{value.device}.", hint="save model.cpu().float().state_dict().",
            )
    return loaded


def load_weights(model: nn.Module, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Fill `model` with weights from the file `path`.

    Raises
    ------
    ModelError
        If names or shapes do not fit.
    """
    expected = model.state_dict()
    if path.endswith(".onnx"):
        # Constants of the graph are initializers as well.
        state = {name: tensor for name, tensor in state.items() if name in expected}
    # DistributedDataParallel saves every name with this prefix.
    state = {name if name in expected else name.removeprefix("module."): tensor for name, tensor in state.items()}
    # BatchNorm's step counters play no part in inference, and converters leave them out.
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in expected]
    shapes = [
        f"{name} is {list(state[name].shape)}, the model's {list(expected[name].shape)}"
        for name in expected if name in state and state[name].shape != expected[name].shape
    ]
    problems = [
        f"{len(found)} {what} ({'; '.join(found[:3])}{' ...' if len(found) > 3 else ''})"
        for found, what in ((missing, "missing"), (unknown, "unknown"), (shapes, "of another shape")) if found
    ]
    if problems:
        raise ModelError(
            f"weights {path}: expected the {len(expected)} tensors of {type(model).__name__}; got {', '.join(problems)}.",
            hint=_ONNX_HINT if path.endswith(".onnx") else _HINT,
        )
    model.load_state_dict(state, strict=False)
