"""What runs a payload: one module an engine, behind the protocol in `sparkq.engines.base`."""
from __future__ import annotations

from collections.abc import Callable

from sparkq.artifact import ModelArtifact
from sparkq.engines.base import Engine
from sparkq.engines.fbgemm import load_fbgemm
from sparkq.engines.float32 import load_float32
from sparkq.engines.observed import Observation, observe
from sparkq.errors import EngineError

__all__ = ["Engine", "Observation", "engine_for", "load_engine", "observe"]

_LOADERS: dict[str, Callable[[bytes], Engine]] = {"fbgemm": load_fbgemm, "float32": load_float32}
_FITS = {"static": ("fbgemm",), "mixed": ("fbgemm",), "dynamic": ("fbgemm",), "none": ("float32",)}


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
    fitting = _FITS[recipe]
    if engine is not None and engine not in fitting:
        raise EngineError(
            f"engine {engine}: expected an engine for recipe {recipe!r} of artifact {artifact.manifest.name!r}; it runs "
            f"on {', '.join(fitting)}.",
            hint=f"leave the engine out, or take {fitting[0]}.",
        )
    return engine or fitting[0]


def load_engine(payload: bytes, engine: str) -> Engine:
    """Load a payload (checked bytes of a TorchScript archive) into an engine, on a worker or on the driver."""
    return _LOADERS[engine](payload)
