"""From what was asked for, through another technique, to a few layers in float: the first that reaches the target."""
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
from sparkq.quantization.gate.target import MOST_IMAGES, GateAttempt, GateTarget
from sparkq.quantization.recipes.mixed import NoisyLayer
from sparkq.quantization.steps import part_of
from sparkq.redaction import get_logger
from sparkq.worker.predictor import Predictor

__all__ = ["chosen_attempt", "pass_gate", "techniques"]

_logger = get_logger(__name__)
_SPEED_BATCH = 16
_SPEED_RUNS = 5
_WITHIN_REACH = 3
_RECKONINGS = 2
_MOST_ATTEMPTS = 2 + _RECKONINGS
# Reckoned for less than is allowed: the noise of layers does not add up exactly.
_AIM = 0.7
_LEAST_INT8_PERCENT = 50
_LEAST_REMAINING = 0.1


def techniques(config: QuantizationConfig) -> Iterator[tuple[str, QuantizationConfig]]:
    """List the attempts before any layer is given up: the one that was asked for, then the one that may do better with all of
    it in INT8.
    """
    yield config.recipe, config
    if config.recipe == "static" and config.observer != "auto":
        yield "static, observer auto", dataclasses.replace(config, observer="auto")


def pass_gate(
    make: Callable[[QuantizationConfig], ModelArtifact], measure: Callable[[ModelArtifact], Measured], *,
    config: QuantizationConfig, target: GateTarget, float_order: Callable[[QuantizationConfig], Sequence[NoisyLayer]],
    finish: Callable[[ModelArtifact], ModelArtifact] = lambda artifact: artifact,
) -> tuple[ModelArtifact, list[GateAttempt]]:
    """The first artifact that reaches the target, its figures in its manifest, and all attempts.

    How many layers must be in float is reckoned from the first attempt's loss and each layer's share of the noise, since a small
    loss grows as the noise's power does; what is measured then is the accuracy itself, and a second reckoning from it is the
    last. If most multiply-accumulates would have to be in float, nothing more is tried.

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
        The layers, first the one that is to be given up first; called only if none of the `techniques` is enough.
    finish : callable
        Adds to the artifact that is kept what costs too much to add to each.

    Raises
    ------
    GateError
        If nothing reaches it that computes at least half in INT8; the message has the table and what it would take.
    """
    walk = _Walk(make, measure, target)
    first = walk.attempt(*next(techniques(config)))
    found = first or _further(walk, config, float_order)
    if found is None:
        raise GateError(
            f"gate: expected {target}; no recipe reaches it, so no artifact was written.{walk.needed}\n"
            f"{gate_table(walk.attempts)}\n",
            hint=_hint(walk.attempts[0].measured, target),
            attempts=tuple(walk.attempts),
        )
    artifact, measured = found
    _warn_of_few_images(measured, target)
    artifact = finish(artifact.with_accuracy(**_figures(measured)))
    walk.attempts[-1] = dataclasses.replace(
        walk.attempts[-1], artifact_bytes=len(artifact.dumps()), images_per_second=_images_per_second(artifact),
    )
    return artifact, walk.attempts


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
        self.needed = ""

    def attempt(self, name: str, config: QuantizationConfig) -> _Found | None:
        """Quantize and measure; None if the target is not reached, or only because nothing is in INT8 any more."""
        with part_of(f"attempt {len(self.attempts) + 1} of at most {_MOST_ATTEMPTS}"):
            artifact = self.make(config)
            measured = self.measure(artifact)
        share = artifact.manifest.int8_macs_percent
        self.attempts.append(GateAttempt(name, measured, share, len(artifact.payload)))
        _logger.info("gate: %s", gate_table(self.attempts).splitlines()[-1])
        return (artifact, measured) if share > 0 and self.target.holds(measured) else None


def _further(
    walk: _Walk, config: QuantizationConfig, float_order: Callable[[QuantizationConfig], Sequence[NoisyLayer]],
) -> _Found | None:
    lost, allowed = walk.target.loss(walk.attempts[0].measured)
    for candidate in [*techniques(config)][1:]:
        # Another range for activations takes a part of the noise away, not most of it.
        if lost <= _WITHIN_REACH * allowed:
            found = walk.attempt(*candidate)
            if found is not None:
                return found
    recipe = "dynamic" if config.recipe == "dynamic" else "mixed"
    order, tried = float_order(config), 0
    for _ in range(_RECKONINGS):
        count = _reckoned(order, lost, allowed, more_than=tried)
        if count is None:
            break
        share = 100 * (1 - sum(layer.macs for layer in order[:count]))
        walk.needed = f" It would take about {count} of {len(order)} layers in float, and {share:.0f} % of the work in INT8."
        if share < _LEAST_INT8_PERCENT:
            break
        # The gate measures what counts; the recipe's own target must not give up still more.
        names = tuple(layer.name for layer in order[:count])
        found = walk.attempt(f"{recipe}, {count} of {len(order)} layers in float", dataclasses.replace(
            config, recipe=recipe, float_layers=(*config.float_layers, *names), minimum_sqnr_db=0.0,
        ))
        if found is not None:
            return found
        # What these layers did not take away, others have to.
        remaining = 1 - sum(layer.noise for layer in order[:count])
        lost = max(lost, walk.target.loss(walk.attempts[-1].measured)[0] / max(remaining, _LEAST_REMAINING))
        tried = count
    return None


def _reckoned(order: Sequence[NoisyLayer], lost: float, allowed: float, *, more_than: int) -> int | None:
    """How many layers must be in float until the others' noise loses no more than most of what is allowed."""
    remaining = 1.0
    for count, layer in enumerate(order, 1):
        remaining -= layer.noise
        if count > more_than and lost * max(remaining, 0.0) <= _AIM * allowed:
            return count if count < len(order) else None
    return None


def _hint(measured: Measured, target: GateTarget) -> str:
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
    if measured.accuracy_drop is None and target.min_agreement is not None:
        return (
            "images whose two best classes nearly tie change at any rounding: leave --min-agreement out, so that the expected "
            "loss of accuracy decides, or measure accuracy with --evaluation and --evaluation-labels."
        )
    return (
        "check that calibration images are like those of the job, or ask for less with --max-accuracy-drop; recipe none keeps "
        "the model in float."
    )


def _warn_of_few_images(measured: Measured, target: GateTarget) -> None:
    """Warn of so few images that another set of them could well say the contrary."""
    if target.is_sure(measured):
        return
    if measured.expected_loss is not None and target.min_agreement is None:
        _logger.warning(
            "gate: the expected loss of %.2f points meets the target (%s), but %d images only show that it is at most %.2f. "
            "Hint: give more calibration images; up to %d of them are held out to measure on.",
            measured.expected_loss, target, measured.images, measured.expected_loss_at_most, MOST_IMAGES,
        )
        return
    what, known = _known(measured, measured.standard_error or 0.0)
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
