"""The table of engines: all that is known of one before it is loaded. It imports neither torch nor numpy.

An engine is added by one module in this package, one entry in `ENGINES` and, if it needs a package, an extra of that name in
``setup.cfg``. Names, checks of options, help texts, the choice of ``auto``, ``sparkq doctor`` and ``sparkq benchmark`` follow.
"""
from __future__ import annotations

from dataclasses import dataclass

from sparkq.errors import EngineError

__all__ = [
    "ENGINES", "ENGINE_NAMES", "EngineSpec", "engine_packages", "engines_in_words", "fitting_engines", "int8_engines", "spec_of",
]

_FLOAT = ("none",)
_INT8 = ("static", "mixed", "dynamic")


@dataclass(frozen=True)
class EngineSpec:
    """One engine, as all who choose among engines see it.

    Parameters
    ----------
    name : str
        The value of ``--engine`` and of the column ``engine``; also the loaded engine's own ``name``.
    loader : str
        ``module:function`` below ``sparkq.engines``: takes the payload's bytes and `LoadOptions`, returns an `Engine`.
    recipes : tuple of str
        The recipes whose artifacts it runs: INT8 ones, or only ``none``, so that its name says what was computed.
    package : str, optional
        The package that it needs, by the name that it has on PyPI, in an ``import`` and as an extra of sparkq.
    torch_backend : bool
        Whether it is one of torch's quantized backends, which some CPUs and some builds of torch lack.
    static_batch : bool
        Whether it is compiled for one batch size. It takes most memory while it loads, so it is measured first, alone.
    hint : str, optional
        The next action on a node that lacks what it needs. Default: install `package`.
    """

    name: str
    loader: str
    recipes: tuple[str, ...]
    package: str | None = None
    torch_backend: bool = False
    static_batch: bool = False
    hint: str | None = None

    @property
    def is_int8(self) -> bool:
        """Whether it runs quantized payloads, not float ones."""
        return self.recipes != _FLOAT

    @property
    def advice(self) -> str | None:
        """The next action on a node that lacks what it needs; None where it needs nothing."""
        return self.hint or (self.package and f"pip install 'sparkq[{self.package}]' on every node.")


_X86_HINT = "run on x86 nodes with AVX2, or take engine onednn."

ENGINES = (
    EngineSpec("fbgemm", "torch_int8:load_fbgemm", _INT8, torch_backend=True, hint=_X86_HINT),
    EngineSpec("x86", "torch_int8:load_x86", _INT8, torch_backend=True, hint=_X86_HINT),
    EngineSpec("onednn", "torch_int8:load_onednn", _INT8, torch_backend=True, hint="install a torch built with oneDNN (mkldnn)."),
    EngineSpec("openvino", "openvino:load_openvino", _INT8, package="openvino", static_batch=True),
    EngineSpec("float32", "torch_float:load_float32", _FLOAT),
    EngineSpec("bfloat16", "torch_float:load_bfloat16", _FLOAT),
)
"""Every engine, in the order in which they are listed and preferred: the first that fits a recipe is its default."""

ENGINE_NAMES = tuple(spec.name for spec in ENGINES)


def spec_of(engine: str) -> EngineSpec:
    """Return an engine's entry. Raises `EngineError` for a name that is not in the table."""
    for spec in ENGINES:
        if spec.name == engine:
            return spec
    raise EngineError(
        f"engine {engine}: expected one of {', '.join(ENGINE_NAMES)}.",
        hint="leave the engine out for the first that fits the model.",
    )


def fitting_engines(recipe: str) -> tuple[str, ...]:
    """Return the names of the engines that run a recipe's artifacts, the default first."""
    return tuple(spec.name for spec in ENGINES if recipe in spec.recipes)


def int8_engines() -> tuple[str, ...]:
    """Return the names of the engines that run quantized payloads."""
    return tuple(spec.name for spec in ENGINES if spec.is_int8)


def engine_packages() -> tuple[str, ...]:
    """Return the packages that some engine needs, installed or not."""
    return tuple(dict.fromkeys(spec.package for spec in ENGINES if spec.package is not None))


def engines_in_words() -> str:
    """Return all names by what they run, for help texts: ``NAME, NAME or NAME (INT8), NAME or NAME (float artifacts)``."""
    int8, floating = int8_engines(), tuple(spec.name for spec in ENGINES if not spec.is_int8)
    return f"{_either(int8)} (INT8), {_either(floating)} (float artifacts)"


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
