"""`preview`: the first images of an input as a network gets them, with its answers. On the driver, without Spark."""
from __future__ import annotations

import dataclasses
import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import nn

from sparkq.artifact.file import ModelArtifact
from sparkq.config import DecodeLimits, ModelTaskConfig, QuantizationConfig
from sparkq.config.checks import check_positive
from sparkq.error_codes import ErrorCode
from sparkq.errors import ConfigError, ImageError, InputError
from sparkq.float_models.load import load_float_model, require_image_shape
from sparkq.float_models.published_preprocess import GivenPreprocess, resolved_preprocess
from sparkq.images.listing import Listing, list_local, list_uri
from sparkq.images.preprocess import ImageGeometry, preprocess_content
from sparkq.images.read import read_objects
from sparkq.quantization import quantize
from sparkq.quantization.task_model import task_model
from sparkq.report.preview.preview import Preview
from sparkq.report.preview.seen import SeenImage
from sparkq.storage import local_path, shown
from sparkq.worker.predictor import Predictor
from sparkq.workflows.pattern import pattern_image

__all__ = ["SHOWN_IMAGES", "calibration_seen", "preview"]

SHOWN_IMAGES = 24
"""Images of a sheet: enough to see a fault, few enough to look at each."""

_TOP_K = 3


def preview(
    model: str | ModelArtifact | nn.Module, input: str, *, weights: str | None = None, preprocess: GivenPreprocess = None,
    labels: Sequence[str] | None = None, task: str = "classification", embedding_layer: str | None = None,
    model_sha256: str | None = None, glob: str | None = None, images: int = SHOWN_IMAGES,
) -> Preview:
    """Show the first images of an input as a network gets them, with its three best labels. On the driver, without Spark.

    Parameters
    ----------
    model : str, ModelArtifact or nn.Module
        An artifact or its file (NAME.sparkq), or a float model or its name as `sparkq.load_float_model` takes it.
    input : str
        A folder of images (searched recursively) or one image: local path, or a uri of an object store that ``pyarrow.fs`` knows.
    weights, preprocess, labels, task, embedding_layer
        Of a float model, as for `sparkq.quantize`; an artifact brings its own.
    model_sha256 : str, optional
        The sha256 that an artifact's file must have.
    glob : str, optional
        Only files whose name matches, e.g. ``*.jpg`` or ``*.{jpg,png}``.
    images : int
        How many, in the order of their paths.

    Returns
    -------
    Preview
        It shows itself in a notebook; ``save("sheet.html")`` writes a page. An image that cannot be decoded stands there as its
        error code.

    Raises
    ------
    ConfigError
        If a setting of preprocessing is not known, or one is given beside an artifact.
    InputError
        If there is no file.
    ModelError, ArtifactError, EngineError
        If the model cannot be loaded or run.
    """
    check_positive("images", images)
    paths = _listed(str(input), glob).table.column("path").to_pylist()
    if not paths:
        raise InputError(f"input {shown(str(input))}: expected images; got no file.", hint="check the path, and --glob.")
    given = {"weights": weights, "preprocess": preprocess, "labels": labels, "embedding_layer": embedding_layer}
    artifact = _artifact(model, given, ModelTaskConfig(task, embedding_layer), model_sha256)
    name = model if isinstance(model, str) else artifact.manifest.name
    return Preview(name, artifact.manifest, _seen(artifact, paths[:images]), shown(str(input)), len(paths))


def _artifact(
    model: str | ModelArtifact | nn.Module, given: dict[str, Any], task: ModelTaskConfig, sha256: str | None,
) -> ModelArtifact:
    """The model as an artifact; a float one is packed as it is, so that it takes the way of every artifact."""
    if isinstance(model, str) and model.endswith(".sparkq"):
        model = ModelArtifact.load(model, sha256=sha256)
    elif sha256 is not None:
        raise ConfigError("model_sha256: expected an artifact's file that has it; got another model.")
    if isinstance(model, ModelArtifact):
        for key, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"{key}: expected none with an artifact, which brings its own; got one.",
                    hint="preview the float model with it.",
                )
        return model
    network = load_float_model(model, given["weights"]) if isinstance(model, str) else model
    resolved = resolved_preprocess(network, given["preprocess"])
    require_image_shape(network, resolved.config.input_size)
    name = type(network).__name__
    network, task = task_model(network, task, resolved.config)
    return quantize(
        network, calibration=[pattern_image(resolved.config.input_size)], preprocess=resolved.config, labels=given["labels"],
        config=QuantizationConfig(recipe="none"), name=name, task=task, preprocess_origin=resolved.origin,
    )


def _listed(path: str, glob: str | None) -> Listing:
    matches = _matcher(glob)
    local = local_path(path)
    try:
        if local is not None:
            return list_local(os.path.abspath(os.fsdecode(local)), matches)
        found = list_uri(path, matches)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"input {shown(path)}: expected a folder that can be listed; got {shown(str(error))}.", hint="check the path.",
        ) from error
    if found is None:
        raise InputError(f"input {shown(path)}: expected images; got no such path.", hint="check the path.")
    return found


def _matcher(glob: str | None) -> Callable[[str], bool]:
    if glob is None:
        return lambda name: True
    # Hadoop's patterns, which jobs take, know alternatives; those of Python do not.
    alternatives = re.fullmatch(r"(.*)\{([^{}]*)\}(.*)", glob)
    globs = [glob] if alternatives is None else [f"{alternatives[1]}{one}{alternatives[3]}" for one in alternatives[2].split(",")]
    return lambda name: any(fnmatch.fnmatchcase(name, one) for one in globs)


def _seen(artifact: ModelArtifact, paths: Sequence[str]) -> tuple[SeenImage, ...]:
    limits = DecodeLimits()
    found: list[SeenImage] = []
    for path, content in zip(paths, read_objects(paths, max_bytes=limits.max_image_bytes), strict=True):
        try:
            if isinstance(content, ImageError):
                raise content
            found.append(SeenImage(path, preprocess_content(content, artifact.manifest.preprocess, limits=limits)))
        except ImageError as error:
            found.append(SeenImage(path, error_code=error.code, error_message=error.message))
    decoded = [image for image in found if image.pixels is not None]
    answers = iter(_answered(Predictor(artifact), decoded))
    return tuple(image if image.pixels is None else next(answers) for image in found)


def calibration_seen(artifact: ModelArtifact, images: npt.NDArray[np.uint8]) -> list[SeenImage]:
    """Show an artifact some of its preprocessed calibration images, uint8 [N, H, W, 3], from all over the set."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), SHOWN_IMAGES)).astype(np.int64)
    # As the probe of `quantize`: whether a node may run the artifact, the node finds out itself.
    return _answered(Predictor(artifact, allow_saturation=True), [SeenImage(None, images[row]) for row in chosen])


def _answered(predictor: Predictor, images: Sequence[SeenImage]) -> list[SeenImage]:
    """Add to images that have pixels what the model says of them, or why it says nothing."""
    found = []
    for start in range(0, len(images), predictor.batch_size):
        batch = images[start:start + predictor.batch_size]
        results = predictor.run_rows(
            np.stack([image.pixels for image in batch if image.pixels is not None]), batch_size=predictor.batch_size,
        )
        for row, (image, output) in enumerate(zip(batch, results.outputs, strict=True)):
            found.append(_with_answer(predictor, image, output, results.failures.get(row)))
    return found


def _with_answer(predictor: Predictor, image: SeenImage, output: npt.NDArray[np.float32], failure: str | None) -> SeenImage:
    if failure is not None:
        message = f"the model failed on this image: {failure}"
        return dataclasses.replace(image, error_code=ErrorCode.INFERENCE_FAILED.value, error_message=message)
    if not np.isfinite(output).all():
        message = "the model's output has NaN or infinite values"
        return dataclasses.replace(image, error_code=ErrorCode.INVALID_OUTPUT.value, error_message=message)
    height, width = predictor.manifest.input_size
    # Boxes are drawn on the network's input, not on the original.
    geometry = ImageGeometry(height, width, height, width, 0, 0)
    (answer,) = predictor.model_task.rows(output[np.newaxis], geometries=[geometry], top_k=_TOP_K)
    return dataclasses.replace(image, answer=answer)
