"""What runs a payload: one module an engine, behind the protocol in `sparkq.engines.base`."""
from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

from sparkq.artifact.file import ModelArtifact
from sparkq.engines.base import Engine, LoadOptions
from sparkq.engines.observed import Observation, observe
from sparkq.engines.openvino import load_openvino
from sparkq.engines.torch_float import load_bfloat16, load_float32
from sparkq.engines.torch_int8 import load_fbgemm, load_onednn, load_x86
from sparkq.errors import EngineError

__all__ = [
    "Engine", "LoadOptions", "Observation", "absent_engines", "engine_for", "fitting_engines", "load_engine", "observe",
]

_LOADERS: dict[str, Callable[[bytes, LoadOptions], Engine]] = {
    "fbgemm": load_fbgemm, "x86": load_x86, "onednn": load_onednn, "openvino": load_openvino, "float32": load_float32,
    "bfloat16": load_bfloat16,
}
_INT8 = ("fbgemm", "x86", "onednn", "openvino")
_FITS = {
    "static": _INT8, "mixed": _INT8, "none": ("float32", "bfloat16"),
    # Made of oneDNN's operators, which OpenVINO does not convert.
    "dynamic": ("fbgemm", "x86", "onednn"),
}


def fitting_engines(recipe: str) -> tuple[str, ...]:
    """Names of the engines for a recipe's artifacts, the default first."""
    return _FITS[recipe]


def absent_engines() -> dict[str, str]:
    """Engines that no artifact runs on here, and what is missing for them: a package, or a torch that offers them."""
    offered = torch.backends.quantized.supported_engines
    reason = f"torch {torch.__version__} does not offer it here"
    absent = {name: reason for name in ("fbgemm", "x86", "onednn") if name not in offered}
    if importlib.util.find_spec("openvino") is None:
        absent["openvino"] = "the package openvino is not installed"
    return absent


def engine_for(artifact: ModelArtifact, engine: str | None = None) -> str:
    """Name of the engine that will run `artifact`.

    Parameters
    ----------
    artifact : ModelArtifact
        Its recipe decides which engines fit.
    engine : str, optional
        The one asked for; None takes the first that fits.

    Raises
    ------
    EngineError
        If the one asked for does not fit the recipe.
    """
    recipe = artifact.manifest.quantization.recipe
    fitting = fitting_engines(recipe)
    if engine is not None and engine not in fitting:
        raise EngineError(
            f"engine {engine}: expected an engine for recipe {recipe!r} of artifact {artifact.manifest.name!r}; it runs "
            f"on {', '.join(fitting)}.",
            hint=f"leave the engine out, or take {fitting[0]}.",
        )
    return engine or fitting[0]


def load_engine(payload: bytes, engine: str, options: LoadOptions) -> Engine:
    """Load a payload (checked bytes of a TorchScript archive) into an engine, on a worker or on the driver.

    Raises
    ------
    EngineError
        If this node cannot run the engine.
    """
    return _LOADERS[engine](payload, options)
