"""The gate: recipes are tried until one is as accurate as asked, or none is written. Runs on the driver."""
from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sparkq.artifact import ModelArtifact
from sparkq.config import QuantizationConfig
from sparkq.errors import ConfigError, GateError, ImageError, InputError
from sparkq.predictor import Predictor
from sparkq.preprocess import preprocess_array, preprocess_content
from sparkq.sqnr import sqnr_of

__all__ = ["Attempt", "GateTarget", "Measured", "candidates", "gate_table", "measure_held_out", "pass_gate", "split_held_out"]

_MIXED_SQNR_DB = (25.0, 30.0, 35.0, 40.0, 50.0)
_SPEED_BATCH = 16
_SPEED_RUNS = 5
_LEAST_SPLIT = 10

Item = TypeVar("Item")


@dataclass(frozen=True)
class Measured:
    """INT8 against float on images that it was not calibrated on.

    Parameters
    ----------
    images : int
        How many.
    agreement : float
        Percent of images with the same first label.
    sqnr_db : float, optional
        Of all outputs; None where nothing differs.
    top1, accuracy_drop : float, optional
        Percent and points, where there are labels.
    """

    images: int
    agreement: float
    sqnr_db: float | None
    top1: float | None = None
    accuracy_drop: float | None = None


@dataclass(frozen=True)
class GateTarget:
    """What an artifact must reach.

    Parameters
    ----------
    max_accuracy_drop : float
        Points of top-1 that it may lose; counts where there are labels.
    min_agreement : float
        Share (0 to 1) of images with the float model's first label; counts where there are no labels.
    """

    max_accuracy_drop: float = 0.5
    min_agreement: float = 0.98

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
            raise ConfigError(f"min_agreement: expected a share from 0 to 1; got {self.min_agreement}.")
        if not self.max_accuracy_drop >= 0:
            raise ConfigError(f"max_accuracy_drop: expected points of at least 0; got {self.max_accuracy_drop}.")

    def holds(self, measured: Measured) -> bool:
        """Whether it is reached."""
        if measured.accuracy_drop is not None:
            # Shares of counts: the tenth digit is binary noise.
            return measured.accuracy_drop <= self.max_accuracy_drop + 1e-9
        return measured.agreement >= 100 * self.min_agreement - 1e-9

    def __str__(self) -> str:
        return f"at most {self.max_accuracy_drop:g} points lost (without labels: {100 * self.min_agreement:g} % agreement)"


@dataclass(frozen=True)
class Attempt:
    """One row of the gate's table.

    Parameters
    ----------
    recipe : str
        What was tried.
    measured : Measured
        How close it came.
    int8_macs_percent : float
        Share of multiply-accumulates in INT8.
    artifact_bytes : int
        Size of the file.
    images_per_second : float
        Of the engine alone, on this machine, in batches of 16; median of five runs.
    """

    recipe: str
    measured: Measured
    int8_macs_percent: float
    artifact_bytes: int
    images_per_second: float


def candidates(config: QuantizationConfig) -> Iterator[tuple[str, QuantizationConfig]]:
    """What is tried, in this order: what was asked for, then techniques, then ever more layers in float."""
    tried = [(config.recipe, config)]
    if config.recipe == "static":
        tried.append(("static, observer auto", dataclasses.replace(config, observer="auto")))
        absorbing = dataclasses.replace(config, observer="auto", high_bias_absorption=True)
        tried.append(("static, observer auto, high-bias absorption", absorbing))
    for decibels in _MIXED_SQNR_DB:
        mixed = dataclasses.replace(config, recipe="mixed", minimum_sqnr_db=decibels)
        tried.append((f"mixed, {decibels:g} dB", mixed))
    seen: list[QuantizationConfig] = []
    for name, candidate in tried:
        if candidate not in seen:
            seen.append(candidate)
            yield name, candidate


def pass_gate(
    make: Callable[[QuantizationConfig], ModelArtifact], measure: Callable[[ModelArtifact], Measured], *,
    config: QuantizationConfig, target: GateTarget,
) -> tuple[ModelArtifact, list[Attempt]]:
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

    Raises
    ------
    GateError
        If nothing reaches it; the message has the table.
    """
    attempts: list[Attempt] = []
    for name, candidate in candidates(config):
        artifact = make(candidate)
        measured = measure(artifact)
        attempts.append(Attempt(
            name, measured, artifact.manifest.int8_macs_percent, len(artifact.dumps()), _images_per_second(artifact),
        ))
        if target.holds(measured):
            figures = {key: value for key, value in dataclasses.asdict(measured).items() if value is not None}
            return artifact.with_accuracy(**figures), attempts
    raise GateError(
        f"gate: expected {target}; no recipe reaches it, so no artifact was written.\n{gate_table(attempts)}\n",
        hint="check that calibration images are like those of the job, or ask for less: --max-accuracy-drop, --min-agreement.",
    )


def split_held_out(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """(to calibrate on, to measure on): every fifth is held out; of fewer than ten all serve both."""
    if len(items) < _LEAST_SPLIT:
        return items, items
    return [item for index, item in enumerate(items) if index % 5], items[::5]


def measure_held_out(
    artifact: ModelArtifact, float_artifact: ModelArtifact, items: Sequence[bytes | npt.NDArray[np.uint8]],
) -> Measured:
    """Compare an artifact with its float model on images without labels, on this machine.

    Parameters
    ----------
    artifact, float_artifact : ModelArtifact
        With the same preprocessing.
    items : sequence
        Encoded images, or decoded ones as uint8 [H, W, 3]; those that do not decode are left out.
    """
    preprocess = artifact.manifest.preprocess
    images = []
    for item in items:
        with contextlib.suppress(ImageError):
            images.append(
                preprocess_array(item, preprocess) if isinstance(item, np.ndarray) else preprocess_content(item, preprocess)
            )
    if not images:
        raise InputError("calibration: expected a held-out image that decodes; got none.", hint="give more calibration images.")
    int8, floating = (Predictor(one, allow_saturation=True).engine for one in (artifact, float_artifact))
    outputs, expected = (
        np.concatenate([
            engine.run(np.stack(images[start:start + _SPEED_BATCH])) for start in range(0, len(images), _SPEED_BATCH)
        ]) for engine in (int8, floating)
    )
    agreement = 100 * float((outputs.argmax(1) == expected.argmax(1)).mean())
    sqnr = sqnr_of(expected, outputs)
    return Measured(len(images), agreement, sqnr if math.isfinite(sqnr) else None)


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


def gate_table(attempts: list[Attempt]) -> str:
    """The attempts as text, one a line."""
    header = ("recipe", "top-1 %", "drop", "agreement %", "SQNR dB", "INT8 MACs %", "MB", "images/s")
    rows = [header, *(
        (
            attempt.recipe, _figure(attempt.measured.top1), _figure(attempt.measured.accuracy_drop),
            _figure(attempt.measured.agreement),
            "infinite" if attempt.measured.sqnr_db is None else _figure(attempt.measured.sqnr_db),
            _figure(attempt.int8_macs_percent), _figure(attempt.artifact_bytes / 1e6), _figure(attempt.images_per_second),
        ) for attempt in attempts
    )]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
