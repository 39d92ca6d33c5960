"""The model that is benchmarked, in every form that an engine or a peer runs."""
from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from sparkq.artifact.file import ModelArtifact
from sparkq.config import ModelTaskConfig, PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.engines.node import has_vnni
from sparkq.float_models.load import load_float_model
from sparkq.float_models.published_preprocess import GivenPreprocess, resolved_preprocess
from sparkq.quantization import quantize
from sparkq.quantization.calibration.image_set import calibration_set
from sparkq.quantization.normalization import normalize
from sparkq.quantization.task_model import task_model

__all__ = ["Subject", "load_subject", "settle_batch_norms"]

_IMAGENET = PreprocessConfig(
    resize=ResizeConfig("shorter_side", 256), crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
)


@dataclass(frozen=True)
class Subject:
    """One model, as artifacts and as itself.

    Parameters
    ----------
    name : str
        The model's name, for people.
    preprocess : PreprocessConfig
        The way from an image to the model's input.
    int8, floating : ModelArtifact, optional
        The artifacts that INT8 and float engines run; None where only the other one was given.
    model : nn.Module, optional
        The float model itself.
    spec, weights : str, optional
        Where `model` came from, if it is all of that: peers load it on their workers.
    notes : tuple of str
        Sentences that a reader of the figures must know.
    """

    name: str
    preprocess: PreprocessConfig
    int8: ModelArtifact | None = None
    floating: ModelArtifact | None = None
    model: nn.Module | None = None
    spec: str | None = None
    weights: str | None = None
    notes: tuple[str, ...] = ()


def load_subject(
    spec: str, *, weights: str | None, float_model: str | None, preprocess: GivenPreprocess, calibration: list[bytes],
    sha256: str | None = None,
) -> Subject:
    """Load or quantize what `spec` names. On the driver.

    Parameters
    ----------
    spec : str
        ``FILE.sparkq``, or a float model as for `sparkq.float_models.load.load_float_model`, which is quantized here, ungated.
    weights : str, optional
        Weights of the float model.
    float_model : str, optional
        The float model that a ``FILE.sparkq`` was made of.
    preprocess : PreprocessConfig, PreprocessOverrides or mapping, optional
        For a float model, over what it was published with, or over ImageNet's; an artifact has its own.
    calibration : list of bytes
        Encoded images.
    sha256 : str, optional
        What the file of an artifact must have.
    """
    given = ModelArtifact.load(spec, sha256=sha256) if spec.endswith(".sparkq") else None
    source = spec if given is None else float_model
    name = spec.rpartition(":")[2] if given is None else given.manifest.name
    if source is None:
        assert given is not None
        subject = Subject(name, given.manifest.preprocess)
    else:
        subject = _float_subject(source, weights, name, given, preprocess, calibration)
    if given is None:
        assert subject.model is not None
        int8 = quantize(subject.model, calibration=calibration, preprocess=subject.preprocess, config=_quick_static(), name=name)
        return dataclasses.replace(subject, int8=int8, notes=_notes(spec, weights))
    if given.manifest.quantization.recipe == "none":
        return dataclasses.replace(subject, floating=given)
    return dataclasses.replace(subject, int8=given)


def _float_subject(
    source: str, weights: str | None, name: str, artifact: ModelArtifact | None, preprocess: GivenPreprocess,
    calibration: list[bytes],
) -> Subject:
    with warnings.catch_warnings():
        # It warns of random weights, which a benchmark may have: the notes say so.
        warnings.simplefilter("ignore", UserWarning)
        model = load_float_model(source, weights)
    if artifact is None:
        settings, asked = resolved_preprocess(model, preprocess, unpublished=_IMAGENET).config, ModelTaskConfig()
    else:
        settings, asked = artifact.manifest.preprocess, artifact.manifest.model_task_config
    if _is_random(source, weights):
        settle_batch_norms(model, calibration, settings)
    model, task = task_model(model, asked, settings)
    floating = quantize(
        model, calibration=calibration[:1], preprocess=settings, config=QuantizationConfig(recipe="none"), name=name, task=task,
    )
    subject = Subject(name, settings, floating=floating, model=model)
    # Peers load the whole model, which does more than an embedding's.
    return dataclasses.replace(subject, spec=source, weights=weights) if task.name == "classification" else subject


def _is_random(spec: str, weights: str | None) -> bool:
    return weights is None and spec.startswith(("torchvision:", "timm:"))


def settle_batch_norms(model: nn.Module, calibration: list[bytes], preprocess: PreprocessConfig) -> None:
    """Set the statistics of BatchNorm layers to those of the images, in place.

    With random weights and none, MobileNetV2's outputs are 1e-9 in size: engines round scales so small in different ways, and
    the golden check of a right engine fails.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        # A plain average over all batches, of which there is one.
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        model(normalize(torch.from_numpy(calibration_set(calibration, preprocess).images), preprocess))
    model.eval()


def _quick_static() -> QuantizationConfig:
    """Return recipe static without the minutes that its accuracy costs: they change the numbers in its graph, not the graph."""
    return QuantizationConfig(
        target="vnni" if has_vnni() else "avx2", observer="min_max", weight_scales="max", rounding="nearest", equalization=False,
        bias_correction=False,
    )


def _notes(spec: str, weights: str | None) -> tuple[str, ...]:
    notes = ["INT8 was quantized quickly, for this benchmark only, and passed no gate: this measures speed, not accuracy"]
    if _is_random(spec, weights):
        notes.append("the weights are random (fixed seed), because none were given: speed does not depend on them")
    return tuple(notes)
