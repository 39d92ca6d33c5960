"""`quantize`: the one entry from a float model to an artifact."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sparkq.artifact.calibration_profile import ActivationProfile, CalibrationProfile
from sparkq.artifact.file import ModelArtifact, sha256_digest
from sparkq.artifact.manifest import Golden, Manifest, expand
from sparkq.config import ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.config.preprocess import PREPROCESS_FIELDS
from sparkq.engines.base import Engine, LoadOptions
from sparkq.engines.load import load_engine
from sparkq.engines.observed import observe
from sparkq.engines.registry import fitting_engines
from sparkq.errors import ModelError
from sparkq.metrics.sqnr import sqnr_of
from sparkq.model_tasks import ModelTask, model_task_of, model_task_type
from sparkq.quantization.calibration.checks import warn_of_images, warn_of_labels
from sparkq.quantization.calibration.image_set import CalibrationSet, calibration_set
from sparkq.quantization.float_graph.macs import float_layers, int8_macs_percent
from sparkq.quantization.float_side import PROBED_IMAGES, FloatSide
from sparkq.quantization.payload import deployed_model, program_payload, require_same
from sparkq.quantization.recipes.dynamic import quantize_dynamic
from sparkq.quantization.recipes.mixed import quantize_mixed
from sparkq.quantization.recipes.static import quantize_static
from sparkq.version import __version__

__all__ = ["quantize", "with_profile"]

_CALIBRATED = {"static": quantize_static, "mixed": quantize_mixed}
_PROFILED_IMAGES = 256


def quantize(
    model: nn.Module, *, calibration: CalibrationSet | Iterable[npt.NDArray[np.uint8] | bytes], preprocess: PreprocessConfig,
    labels: Sequence[str] | None = None, config: QuantizationConfig | None = None, name: str | None = None,
    task: ModelTaskConfig = ModelTaskConfig(), preprocess_origin: Mapping[str, str] | None = None, side: FloatSide | None = None,
    profiled: bool = True,
) -> ModelArtifact:
    """Make an artifact of a float model. Runs on the driver.

    Parameters
    ----------
    model : nn.Module
        Takes float32 [N, 3, H, W], returns float [N, C]. It is not changed.
    calibration : iterable or CalibrationSet
        Images like those of the job: uint8 [H, W, 3] RGB of any size, or encoded bytes. They are preprocessed as
        inference will. Recipe ``none`` takes only the golden input from them. A set is taken as it is.
    preprocess : PreprocessConfig
        From an image to the model's input.
    labels : sequence of str, optional
        Name of each class, length C; of a classification.
    config : QuantizationConfig, optional
        Default: static INT8.
    name : str, optional
        Default: the model's class name.
    task : ModelTaskConfig
        What its outputs are, as `sparkq.quantization.task_model.task_model` gives it with the model.
    preprocess_origin : mapping of str to str, optional
        Where each setting of `preprocess` comes from, for the manifest; default: all of them are given.
    side : FloatSide, optional
        That of `model`, `calibration` and `preprocess`, which has computed what earlier artifacts of them needed.
    profiled : bool
        Whether the manifest gets a profile of the calibration images, which `with_profile` can add.

    Returns
    -------
    ModelArtifact
        With the payload's answer to a golden input, computed here.

    Raises
    ------
    InputError
        If calibration images or labels cannot be used.
    ModelError
        If the model cannot be captured or quantized.
    EngineError
        If this machine cannot run the payload.
    """
    config = config or QuantizationConfig()
    if side is None:
        images = calibration if isinstance(calibration, CalibrationSet) else calibration_set(calibration, preprocess)
        side = FloatSide(model, images, preprocess)
    model, images, float_outputs = side.model, side.images, side.outputs
    if config.recipe in _CALIBRATED:
        warn_of_images(images)
    if task.name == "classification" and isinstance(float_outputs, torch.Tensor):
        warn_of_labels(images, float_outputs.numpy(), names=labels)
    converted = _converted(side, config)
    payload, engine = _deployed(converted, side, config)
    probe = _probe(engine, images, preprocess, task, labels)
    profile = _profile(engine, images, probe.model_task, config) if profiled and config.recipe != "none" else None
    manifest = Manifest(
        name=name or type(model).__name__,
        preprocess=preprocess,
        preprocess_origin=dict(preprocess_origin or dict.fromkeys(PREPROCESS_FIELDS, "given")),
        **_described(task, probe),
        quantization=config,
        calibration_images=images.count if config.recipe in _CALIBRATED else 0,
        calibration_fingerprint=images.fingerprint,
        calibration_profile=profile,
        float_layers=float_layers(converted),
        int8_macs_percent=int8_macs_percent(model, converted, images, preprocess) if config.recipe != "none" else 0.0,
        float_bytes=_size_bytes(model),
        payload_bytes=len(payload),
        payload_sha256=sha256_digest(payload),
        torch_version=torch.__version__,
        sparkq_version=__version__,
        accuracy={} if config.recipe == "none" else _closeness(probe.model_task, float_outputs, probe.outputs),
        golden=probe.golden,
    )
    return ModelArtifact(manifest, payload)


def _deployed(
    converted: nn.Module, side: FloatSide, config: QuantizationConfig,
) -> tuple[bytes, Engine]:
    """The payload, and the engine that runs it as the module does."""
    name, images = type(side.model).__name__, side.images
    deployed = deployed_model(converted, side.preprocess)
    payload = program_payload(deployed, images, name=name)
    engine = _default_engine(payload, side.preprocess, config)
    floating = None if config.recipe == "none" else deployed_model(side.model, side.preprocess)
    require_same(engine.run, deployed, images, name=name, floating=floating)
    return payload, engine


def _described(config: ModelTaskConfig, probe: _Probe) -> dict[str, Any]:
    """The manifest's entries about the task."""
    outputs = probe.outputs.shape[1]
    return {
        "task": config.name, "labels": probe.model_task.labels, "classes": probe.model_task.classes(outputs),
        "output_length": outputs,
        "scores": probe.model_task.scores, "embedding_layer": config.embedding_layer,
        "detection": config.detection if config.name == "detection" else None,
    }


def with_profile(artifact: ModelArtifact, images: CalibrationSet) -> ModelArtifact:
    """The artifact with a profile of what its calibration images do to it, as `quantize` gives it. On the driver."""
    manifest = artifact.manifest
    engine = _default_engine(artifact.payload, manifest.preprocess, manifest.quantization)
    profile = _profile(engine, images, model_task_of(manifest), manifest.quantization)
    return ModelArtifact(replace(manifest, calibration_profile=profile), artifact.payload)


def _converted(side: FloatSide, config: QuantizationConfig) -> nn.Module:
    """Weights and biases are fitted to what torch's current engine computes; which one that is, is not to matter."""
    before = torch.backends.quantized.engine
    if "fbgemm" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "fbgemm"
    try:
        arguments = side.model, side.images, side.preprocess, config
        if config.recipe in _CALIBRATED:
            return _CALIBRATED[config.recipe](*arguments, floating=side.graph(config))
        return quantize_dynamic(*arguments) if config.recipe == "dynamic" else side.model
    finally:
        torch.backends.quantized.engine = before


def _closeness(task: ModelTask, expected: torch.Tensor, outputs: npt.NDArray[np.float32]) -> dict[str, float]:
    """INT8 against float on the first calibration images: better than on images of the job, but always there."""
    reference = expected.numpy()
    figures = {f"calibration_{name}": figure for name, figure in task.closeness(reference, outputs).items()}
    # Infinite where nothing differs, or where the float model answers nothing but zeros; JSON has no such number.
    return {**figures, "calibration_sqnr_db": max(min(round(sqnr_of(reference, outputs), 2), 200.0), -200.0)}


@dataclass(frozen=True)
class _Probe:
    golden: Golden
    model_task: ModelTask
    outputs: npt.NDArray[np.float32]


def _default_engine(payload: bytes, preprocess: PreprocessConfig, config: QuantizationConfig) -> Engine:
    return load_engine(payload, fitting_engines(config.recipe)[0], LoadOptions(preprocess.input_size))


def _probe(
    engine: Engine, calibration: CalibrationSet, preprocess: PreprocessConfig, asked: ModelTaskConfig,
    labels: Sequence[str] | None,
) -> _Probe:
    """Run the finished payload: on the golden input, and on calibration images to see what it does with such."""
    pixels, replication = Golden.reduce(calibration.images[0])
    try:
        output = engine.run(expand(pixels, replication, preprocess.input_size)[np.newaxis])[0]
        outputs = engine.run(np.ascontiguousarray(calibration.images[:PROBED_IMAGES]))
    except RuntimeError as error:
        raise _failed_pass(error) from error
    _require_finite(outputs)
    _require_finite(output)
    task = model_task_type(asked.name).of_outputs(outputs, labels=labels, config=asked, input_size=preprocess.input_size)
    return _Probe(Golden(pixels, replication, np.concatenate(task.golden_parts(output))), task, outputs)


def _failed_pass(error: RuntimeError) -> ModelError:
    return ModelError(
        f"model: expected a forward pass of the payload on calibration images; got {str(error).splitlines()[-1]}.",
        hint="the model must take any image of its input size.",
    )


def _require_finite(outputs: npt.NDArray[np.float32]) -> None:
    if not np.isfinite(outputs).all():
        raise ModelError(
            "model: expected finite outputs on the calibration images; got NaN or infinite values.",
            hint="check the weights and preprocess.",
        )


def _profile(engine: Engine, calibration: CalibrationSet, task: ModelTask, config: QuantizationConfig) -> CalibrationProfile:
    """Profile the finished payload on calibration images from all over the set, for comparison with the job's."""
    images = calibration.images
    chosen = np.linspace(0, len(images) - 1, min(len(images), _PROFILED_IMAGES)).astype(np.int64)
    # Where ranges are taken at run time every image reaches the ends of its own.
    levels = None if config.recipe == "dynamic" else config.activation_levels
    batches, answers = [], []
    try:
        for start in range(0, len(chosen), config.batch_size):
            batch = observe(engine, np.ascontiguousarray(images[chosen[start:start + config.batch_size]]), levels=levels)
            _require_finite(batch.outputs)
            answers.append(task.best(batch.outputs))
            # A detector's are megabytes an image.
            batches.append(replace(batch, outputs=batch.outputs[:0]))
    except RuntimeError as error:
        raise _failed_pass(error) from error
    shares = np.concatenate([batch.saturated for batch in batches])
    activations = [
        ActivationProfile(name, low, high, saturated, deviation)
        for name, (low, high), saturated, deviation in zip(
            batches[0].names, batches[0].ranges, shares.mean(0).tolist(), shares.std(0).tolist(), strict=True,
        )
    ]
    found = [answer for answer in answers if answer is not None]
    if not found:
        return CalibrationProfile.of_activations(len(chosen), activations)
    labels, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return CalibrationProfile.of(labels, scores, activations)


def _size_bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
