"""Payloads become loaded engines, on nodes that have what the engine needs."""
from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from sparkq.engines.base import Engine, LoadOptions
from sparkq.engines.node import describe_node
from sparkq.engines.registry import ENGINES, EngineSpec, spec_of
from sparkq.errors import EngineError

__all__ = ["absent_engines", "import_engine", "load_engine"]


def absent_engines() -> dict[str, str]:
    """Return the engines that no artifact runs on here, and what this node lacks for each of them."""
    lacks = {spec.name: _lack(spec) for spec in ENGINES}
    return {name: lack for name, lack in lacks.items() if lack is not None}


def load_engine(payload: bytes, engine: str, options: LoadOptions) -> Engine:
    """Load a payload into an engine, on a worker or on the driver.

    Parameters
    ----------
    payload : bytes
        A program's bytes, whose digest was checked.
    engine : str
        A name of `sparkq.engines.registry`.
    options : LoadOptions
        How it will be run.

    Raises
    ------
    EngineError
        If this node cannot run the engine.
    """
    spec = spec_of(engine)
    lack = _lack(spec)
    if lack is not None:
        raise EngineError(
            f"engine {engine} on {describe_node()}: expected a node that can run it; here {lack}.", hint=spec.advice,
        )
    try:
        return import_engine(engine)(payload, options)
    except ImportError as error:
        if spec.package is None:
            raise
        raise EngineError(
            f"engine {engine} on {describe_node()}: expected a package {spec.package} that can be imported; got {error}.",
            hint=spec.advice,
        ) from error


def import_engine(engine: str) -> Callable[[bytes, LoadOptions], Engine]:
    """Import an engine's module, and torch with it; return its loader.

    Raises
    ------
    ImportError
        If what the module needs is not there or broken.
    """
    module, _, function = spec_of(engine).loader.partition(":")
    load: Callable[[bytes, LoadOptions], Engine] = getattr(importlib.import_module(f"sparkq.engines.{module}"), function)
    return load


def _lack(spec: EngineSpec) -> str | None:
    """One clause that says what this node lacks for an engine, or None."""
    if spec.package is not None and importlib.util.find_spec(spec.package) is None:
        return f"the package {spec.package} is not installed"
    return _torch_lack(spec.name) if spec.torch_backend else None


def _torch_lack(backend: str) -> str | None:
    # Not above: other engines, and drivers, do without a second's import and 190 MB.
    import torch

    offered = torch.backends.quantized.supported_engines
    return None if backend in offered else f"torch {torch.__version__} does not offer it, only {', '.join(offered)}"
