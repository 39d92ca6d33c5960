"""The engines that fit an artifact, and the one that will run it. Nothing is loaded here, on the driver or on a worker."""
from __future__ import annotations

from sparkq.artifact.file import ModelArtifact
from sparkq.engines.registry import fitting_engines
from sparkq.errors import EngineError

__all__ = ["engine_for", "engines_for"]


def engines_for(artifact: ModelArtifact) -> tuple[str, ...]:
    """Return the names of the engines that run an artifact, the default first."""
    return fitting_engines(artifact.manifest.quantization.recipe)


def engine_for(artifact: ModelArtifact, engine: str | None = None) -> str:
    """Return the name of the engine that will run an artifact.

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
    fitting = engines_for(artifact)
    if engine is not None and engine not in fitting:
        manifest = artifact.manifest
        raise EngineError(
            f"engine {engine}: expected an engine for recipe {manifest.quantization.recipe!r} of artifact {manifest.name!r}; it "
            f"runs on {', '.join(fitting)}.",
            hint=f"leave the engine out, or take {fitting[0]}.",
        )
    return engine or fitting[0]
