"""Where a float model comes from: a factory of the user's, timm or torchvision; and its weights."""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from sparkq.errors import ModelError
from sparkq.storage import read_file

__all__ = ["load_float_model"]

_SEED = 0
# Checkpoints of training scripts hold the state_dict under one of these keys.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
_TORCHVISION_OPS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []


def load_float_model(spec: str, weights: str | None = None) -> nn.Module:
    """Build a float model on the driver and fill it with weights.

    Parameters
    ----------
    spec : str
        ``package.module:factory`` or ``path/to/file.py:factory`` (called without arguments, returns an ``nn.Module``),
        ``timm:NAME`` or ``torchvision:NAME``.
    weights : str, optional
        Path or uri of a ``.safetensors`` file or of a state_dict written by ``torch.save``. Read without executing
        anything that it holds. Without it, a named architecture gets random weights from a fixed seed, and a warning
        says so; a factory of the user's may have filled them in itself.

    Returns
    -------
    nn.Module
        In eval mode, float32.

    Raises
    ------
    ModelError
        If there is no such model, or the weights do not fit it.
    InputError
        If the weights file cannot be read.
    """
    source, separator, name = spec.rpartition(":")
    if not separator or not source or not name:
        raise ModelError(
            f"model {spec!r}: expected module:factory, timm:NAME or torchvision:NAME; got no such thing.",
            hint="for example torchvision:resnet50 or my_models:make_classifier.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = _named_architecture(source, name) if source in ("timm", "torchvision") else _from_factory(source, name)
    if weights is not None:
        _load_weights(model, _read_state_dict(weights), weights)
    elif source in ("timm", "torchvision"):
        warnings.warn(
            f"model {spec}: no weights given, so they are random (seed {_SEED}): good for benchmarks, not for predictions",
            stacklevel=2,
        )
    return model.float().eval()


def _named_architecture(source: str, name: str) -> nn.Module:
    library = _import_model_library(source)
    try:
        if source == "timm":
            model = library.create_model(name, pretrained=False)
        else:
            model = library.models.get_model(name, weights=None, **_torchvision_arguments(name))
    # Both libraries raise kinds of their own for unknown names and for packages that a model needs.
    except Exception as error:
        raise ModelError(
            f"model {source}:{name}: expected a model of {source}; got {_one_line(error)}.",
            hint=f"{source}.{'list_models()' if source == 'timm' else 'models.list_models()'} names them.",
        ) from error
    return _checked_module(model, f"{source}:{name}")


def _torchvision_arguments(name: str) -> dict[str, Any]:
    # Their auxiliary training heads and slow truncated-normal initialization serve nothing here.
    return {"init_weights": False} if name in ("googlenet", "inception_v3") else {}


def _import_model_library(name: str) -> ModuleType:
    try:
        _make_torchvision_importable()
        importlib.import_module("torchvision.models")
        module = importlib.import_module(name)
    except ImportError as error:
        raise ModelError(
            f"model source {name}: expected the package; got {_one_line(error)}.", hint="pip install 'sparkq[models]'.",
        ) from error
    return module


def _make_torchvision_importable() -> None:
    """Let torchvision import beside a CPU build of torch.

    Its wheel on PyPI is built for CUDA; beside a CPU torch its C++ extension does not load, and its Python code then
    fails on the first operator that it finds undeclared (``operator torchvision::nms does not exist``). Architectures
    and transforms are pure Python: with the two schemas declared, both import. Only done when the import fails so.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for loaded in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for schema in _TORCHVISION_OPS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _libraries.append(library)  # its operators vanish with it


def _from_factory(source: str, name: str) -> nn.Module:
    module = _import_factory_module(source)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ModelError(f"model {source}:{name}: expected a callable {name!r} in {source}; got {type(factory).__name__}.")
    try:
        model = factory()
    # The user's code: anything may come out of it, also sys.exit().
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {source}:{name}: expected the factory to return a model when called without arguments; got "
            f"{_one_line(error)}."
        ) from error
    return _checked_module(model, f"{source}:{name}")


def _import_factory_module(source: str) -> ModuleType:
    try:
        if source.endswith(".py"):
            return _import_file(source)
        # A console script does not have the current directory on its path, `python -m` does; a factory beside the
        # config file is found either way.
        with _on_path(os.getcwd()):
            return importlib.import_module(source)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise ModelError(
            f"model source {source}: expected a module that can be imported; got {_one_line(error)}.",
            hint="give a path (models/my_models.py:factory), or put its folder on PYTHONPATH.",
        ) from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"model source {source}: expected a module that can be imported; got {_one_line(error)}.") from error


def _import_file(path: str) -> ModuleType:
    # A name of our own: a types.py of the user's must not take the place of Python's.
    name = f"_sparkq_factory_{os.path.splitext(os.path.basename(path))[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and `inspect` look their module up there.
    sys.modules[name] = module
    with _on_path(os.path.dirname(os.path.abspath(path))):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _checked_module(model: object, spec: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ModelError(f"model {spec}: expected a torch.nn.Module; got {type(model).__name__}.")
    return model


def _read_state_dict(path: str) -> Mapping[str, torch.Tensor]:
    data = read_file(path, what="weights")
    try:
        if path.endswith(".safetensors"):
            return load_safetensors(data)
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
    return loaded


def _load_weights(model: nn.Module, state: Mapping[str, torch.Tensor], path: str) -> None:
    expected = model.state_dict()
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
            hint="the weights belong to another architecture, or to another number of classes.",
        )
    model.load_state_dict(state, strict=False)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
