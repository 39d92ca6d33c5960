"""Float models by name: a factory of the user's, timm, torchvision, an ONNX file or a ``.pt2`` program."""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import nn

from sparkq.errors import ModelError, one_line
from sparkq.float_models.detection_heads import SSDMaps
from sparkq.float_models.exported import load_pt2
from sparkq.float_models.named import LIBRARIES, named_architecture
from sparkq.float_models.onnx import load_onnx
from sparkq.float_models.published_preprocess import PUBLISHED
from sparkq.float_models.weights import load_weights, read_weights

__all__ = ["load_float_model", "require_image_shape"]

_SEED = 0
_FILE_LOADERS: dict[str, Callable[[str], nn.Module]] = {"onnx": load_onnx, "pt2": load_pt2}


def load_float_model(spec: str, weights: str | None = None) -> nn.Module:
    """Build a float model on the driver and fill it with weights.

    Parameters
    ----------
    spec : str
        ``package.module:factory`` or ``path/to/file.py:factory`` (called without arguments, returns an ``nn.Module``),
        ``timm:NAME`` or ``torchvision:NAME``; ``onnx:FILE`` or ``pt2:FILE`` (of ``torch.export.save``), path or uri, which
        bring their weights along.
    weights : str, optional
        Path or uri of a ``.safetensors`` file, of a state_dict written by ``torch.save``, or of an ONNX file whose
        initializers have the model's names. Read without executing anything that it holds. Without it, a named
        architecture gets random weights from a fixed seed, and a warning says so; a factory of the user's may have filled
        them in itself.

    Returns
    -------
    nn.Module
        In eval mode, float32. What comes from a file is a `torch.fx.GraphModule`, see `require_image_shape`. An SSD of
        torchvision's is only its backbone and heads, see `sparkq.float_models.detection_heads.SSDMaps`.

    Raises
    ------
    ModelError
        If there is no such model, the weights do not fit it, or a file holds what is not supported.
    InputError
        If a file cannot be read.
    """
    kind, _, path = spec.partition(":")
    is_file = kind in _FILE_LOADERS and bool(path)
    source, separator, name = (kind, ":", path) if is_file else spec.rpartition(":")
    if not separator or not source or not name:
        raise ModelError(
            f"model {spec!r}: expected module:factory, timm:NAME, torchvision:NAME, onnx:FILE or pt2:FILE; got no such thing.",
            hint="for example torchvision:resnet50 or my_models:make_classifier.",
        )
    state = None if weights is None else read_weights(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if source in LIBRARIES:
            model = named_architecture(source, name, state)
        else:
            model = _FILE_LOADERS[source](name) if is_file else _from_factory(source, name)
    if state is not None and weights is not None:
        load_weights(model, state, weights)
    elif source in LIBRARIES:
        warnings.warn(
            f"model {spec}: no weights given, so they are random (seed {_SEED}): good for benchmarks, not for predictions",
            stacklevel=2,
        )
    return _without_boxes(model.float().eval())


def _without_boxes(model: nn.Module) -> nn.Module:
    """Keep of torchvision's SSDs the part that can be traced; sparkq makes the boxes itself. Other models stay as they are."""
    if any(kind.__module__ == "torchvision.models.detection.ssd" and kind.__name__ == "SSD" for kind in type(model).__mro__):
        transform: Any = model.transform
        width, height = transform.fixed_size
        maps = SSDMaps(model, (int(height), int(width)))
        # GeneralizedRCNNTransform: every image to one size, whatever its shape.
        setattr(maps, PUBLISHED, {
            "architecture": type(model).__name__, "input_size": (3, int(height), int(width)), "crop_mode": "squash",
            "interpolation": "bilinear", "mean": transform.image_mean, "std": transform.image_std,
        })
        return maps
    return model


def require_image_shape(model: nn.Module, input_size: tuple[int, int]) -> None:
    """Check that images of `input_size` (height, width) are what a model from a file was written for.

    Its graph holds sizes as constants, so that other images can give wrong answers instead of an error.

    Raises
    ------
    ModelError
        If the model says its input's shape (``meta["image_shape"]`` of a GraphModule), and it is another.
    """
    shape = getattr(model, "meta", {}).get("image_shape")
    if shape is not None and tuple(shape) != (3, *input_size):
        raise ModelError(
            f"model {type(model).__name__}: expected images of [{', '.join(map(str, shape))}] (channels, height, width), as its "
            f"file says; got [3, {input_size[0]}, {input_size[1]}] from preprocess.",
            hint="set preprocess.crop or resize.size to the model's input size.",
        )


def _from_factory(source: str, name: str) -> nn.Module:
    module = _import_factory_module(source)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ModelError(
            f"model {source}:{name}: expected a callable {name!r} in {source}; got {type(factory).__name__}.",
            hint="check the name behind the colon.",
        )
    try:
        model = factory()
    # The user's code: anything may come out of it, also sys.exit().
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {source}:{name}: expected the factory to return a model when called without arguments; got "
            f"{one_line(error)}.",
            hint="give a function or class that needs no arguments.",
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
            f"model source {source}: expected a module that can be imported; got {one_line(error)}.",
            hint="give a path (models/my_models.py:factory), or put its folder on PYTHONPATH.",
        ) from error
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model source {source}: expected a module that can be imported; got {one_line(error)}.",
            hint="check the path, or install what it imports.",
        ) from error


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
        raise ModelError(
            f"model {spec}: expected a torch.nn.Module; got {type(model).__name__}.",
            hint="let the factory return the model itself.",
        )
    return model
