"""From what was asked for, through the techniques, to ever more layers in float: the first that reaches the target."""
from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sparkq.artifact.file import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.errors import GateError
from sparkq.quantization.gate.measured import Measured
from sparkq.quantization.gate.table import gate_table
from sparkq.quantization.gate.target import GateAttempt, GateTarget
from sparkq.redaction import get_logger
from sparkq.worker.predictor import Predictor

__all__ = ["chosen_attempt", "pass_gate", "techniques"]

_logger = get_logger(__name__)
_SPEED_BATCH = 16
_SPEED_RUNS = 5


def techniques(config: QuantizationConfig) -> Iterator[tuple[str, QuantizationConfig]]:
    """List the attempts before any layer is given up: the one that was asked for, then those that may do better with all of
    it in INT8.
    """
    yield config.recipe, config
    if config.recipe == "static":
        automatic = dataclasses.replace(config, observer="auto")
        absorbing = dataclasses.replace(automatic, high_bias_absorption=True)
        for name, other in (("auto", automatic), ("auto, high-bias absorption", absorbing)):
            if other != config:
                yield f"static, observer {name}", other


def pass_gate(
    make: Callable[[QuantizationConfig], ModelArtifact], measure: Callable[[ModelArtifact], Measured], *,
    config: QuantizationConfig, target: GateTarget, float_order: Callable[[QuantizationConfig], Sequence[str]],
) -> tuple[ModelArtifact, list[GateAttempt]]:
    """The first artifact that reaches the target, its figures in its manifest, and all attempts.

    Parameters
    ----------
    make : callable
        Quantizes with a config.
    measure : callable
        Measures an artifact on images that it was not calibrated on.
    config : QuantizationConfig
        What was asked for; tried first.
    target : GateTarget
        What must be reached.
    float_order : callable
        Names of the layers, first the one that is to be given up first; called only if none of the `techniques` is enough.
        How many must be, to keep most multiply-accumulates in INT8, is found by bisection: what is measured is the
        accuracy itself.

    Raises
    ------
    GateError
        If nothing reaches it that computes anything in INT8; the message has the table.
    """
    walk = _Walk(make, measure, target)
    found = next((artifact for artifact in (walk.attempt(*candidate) for candidate in techniques(config)) if artifact), None)
    if found is None:
        found = _with_fewest_in_float(walk, config, float_order(config))
    if found is None:
        raise GateError(
            f"gate: expected {target}; no recipe reaches it, so no artifact was written.\n{gate_table(walk.attempts)}\n",
            hint=_hint(walk.attempts[0].measured),
            attempts=tuple(walk.attempts),
        )
    artifact, measured = found
    _warn_of_few_images(measured, target)
    return artifact.with_accuracy(**_figures(measured)), walk.attempts


def chosen_attempt(artifact: ModelArtifact, attempts: Sequence[GateAttempt]) -> int | None:
    """Index of the attempt that became `artifact`: the one whose figures stand in its manifest. None where none was made."""
    manifest = artifact.manifest
    return next((
        index for index, attempt in enumerate(attempts)
        if attempt.int8_macs_percent == manifest.int8_macs_percent
        and _figures(attempt.measured).items() <= manifest.accuracy.items()
    ), None)


def _figures(measured: Measured) -> dict[str, float]:
    return {key: value for key, value in dataclasses.asdict(measured).items() if value is not None}


_Found = tuple[ModelArtifact, Measured]


class _Walk:
    def __init__(
        self, make: Callable[[QuantizationConfig], ModelArtifact], measure: Callable[[ModelArtifact], Measured],
        target: GateTarget,
    ) -> None:
        self.make, self.measure, self.target = make, measure, target
        self.attempts: list[GateAttempt] = []

    def attempt(self, name: str, config: QuantizationConfig) -> _Found | None:
        """Quantize and measure; None if the target is not reached, or only because nothing is in INT8 any more."""
        artifact = self.make(config)
        measured = self.measure(artifact)
        share = artifact.manifest.int8_macs_percent
        self.attempts.append(GateAttempt(name, measured, share, len(artifact.dumps()), _images_per_second(artifact)))
        _logger.info("gate: %s", gate_table(self.attempts).splitlines()[-1])
        return (artifact, measured) if share > 0 and self.target.holds(measured) else None


def _with_fewest_in_float(walk: _Walk, config: QuantizationConfig, order: Sequence[str]) -> _Found | None:
    recipe = "dynamic" if config.recipe == "dynamic" else "mixed"
    found = None
    low, high = 1, len(order)
    while low < high:
        middle = (low + high) // 2
        # The gate measures what counts; the recipe's own target must not give up still more.
        candidate = dataclasses.replace(
            config, recipe=recipe, float_layers=(*config.float_layers, *order[:middle]), minimum_sqnr_db=0.0,
        )
        reached = walk.attempt(f"{recipe}, {middle} of {len(order)} layers in float", candidate)
        if reached is not None:
            found, high = reached, middle
        else:
            low = middle + 1
    return found


def _hint(measured: Measured) -> str:
    if measured.mean_cosine is not None:
        return (
            "check that calibration images are like those of the job, and give more of them; or ask for less with --min-cosine; "
            "recipe none keeps the model in float."
        )
    if measured.accuracy_drop is None and measured.boxes is not None:
        return (
            "boxes whose score is near the threshold come and go at any rounding: measure mean average precision instead, with "
            "--evaluation and --evaluation-labels, raise --detection-score-threshold, or ask for less with --min-agreement."
        )
    if measured.accuracy_drop is None:
        return (
            "images whose two best classes nearly tie change at any rounding: measure accuracy instead, with --evaluation and "
            "--evaluation-labels, give more calibration images, or ask for less with --min-agreement."
        )
    return (
        "check that calibration images are like those of the job, or ask for less with --max-accuracy-drop; recipe none keeps "
        "the model in float."
    )


def _warn_of_few_images(measured: Measured, target: GateTarget) -> None:
    """Warn of so few images that another set of them could well say the contrary."""
    error = measured.standard_error
    if error is not None and target.margin(measured) < error:
        what, known = _known(measured, error)
        _logger.warning(
            "gate: the %s meets the target (%s) on %d images, but is known to +- %s only. Hint: measure on more images.",
            what, target, measured.images, known,
        )


def _known(measured: Measured, error: float) -> tuple[str, str]:
    if measured.mean_cosine is not None:
        return "cosine similarity", f"{error:.4f}"
    return "agreement" if measured.accuracy_drop is None else "accuracy drop", f"{error:.1f} points"


def _images_per_second(artifact: ModelArtifact) -> float:
    engine = Predictor(artifact, allow_saturation=True).engine
    golden = artifact.manifest.golden.input(artifact.manifest.input_size)
    batch = np.ascontiguousarray(np.broadcast_to(golden, (_SPEED_BATCH, *golden.shape)))
    engine.run(batch)
    seconds = []
    for _ in range(_SPEED_RUNS):
        started = time.perf_counter()
        engine.run(batch)
        seconds.append(time.perf_counter() - started)
    return _SPEED_BATCH / statistics.median(seconds)
