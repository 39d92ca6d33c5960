"""The artifact's manifest: plain JSON that describes the artifact, read and checked before torch sees a byte."""
from __future__ import annotations

import json
import re
import reprlib
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from sparkq.artifact.calibration_profile import CalibrationProfile
from sparkq.artifact.golden import GOLDEN_BYTES, Golden, expand
from sparkq.artifact.json_values import finite_number, mapped, text, texts, whole_number
from sparkq.config import DetectionConfig, ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.config.parsing import parse_config, to_mapping
from sparkq.config.preprocess import PREPROCESS_FIELDS, PREPROCESS_ORIGINS
from sparkq.errors import ArtifactFormatError, ArtifactProtocolError, ConfigError, one_line

__all__ = ["GOLDEN_BYTES", "PROTOCOL", "Golden", "Manifest", "detection_mapping", "expand"]

PROTOCOL = 4
"""Version of the file format; a reader refuses any other."""

_WRITTEN_APART = ("preprocess", "detection", "quantization", "calibration_profile", "golden")
_HINT = "copy the file again, or write it anew with `sparkq quantize`."
_SCORES = (None, "logits", "probabilities")
_MOST_MANIFEST_BYTES = 16 * 2**20
"""ImageNet-21k's names are 1 MB. What Python makes of JSON takes up to twenty times as much."""
_LONGEST_SIDE, _MOST_PIXELS, _MOST_OUTPUTS = 8192, 2**24, 2**24
"""The memory of an input is not in the file, only its size is: four thousand pixels square, and as many outputs."""


@dataclass(frozen=True)
class Manifest:
    """All that an artifact says beside its payload.

    Parameters
    ----------
    name : str
        Model name, for people.
    task : str
        ``classification``, ``embedding`` or ``detection``; `sparkq.model_tasks` has what each makes of the payload's output.
    preprocess : PreprocessConfig
        How images come to the payload's input.
    preprocess_origin : dict of str to str
        Where each setting of it comes from, by its name in `sparkq.config.preprocess.PREPROCESS_FIELDS`: ``published``, ``given``
        or ``default``.
    labels : tuple of str, optional
        Name of each class; None where only indices are known.
    classes : int
        How many the model tells apart; 0 of an embedding. Of a detection with the background, class 0.
    output_length : int
        Length of the payload's output for one image, C: of a classification its classes, of an embedding the vector's.
    scores : str, optional
        Of a classification: ``logits`` (softmax makes the scores) or ``probabilities`` (the model ends in a softmax of its own).
    embedding_layer : str, optional
        Of an embedding: the float model's layer whose output it is.
    detection : DetectionConfig, optional
        Of a detection: its default boxes, and which boxes a row keeps.
    quantization : QuantizationConfig
        The recipe.
    calibration_images : int
        How many images the ranges were measured on; 0 for a float artifact.
    calibration_fingerprint : str
        Tells the set of preprocessed calibration images, whatever their order and partitioning: their sha256 added
        modulo 2**256 (Bellare and Micciancio 1997, AdHash), hashed once more with their count.
    calibration_profile : CalibrationProfile, optional
        What the INT8 model did on calibration images; None for a float artifact.
    float_layers : tuple of str
        Convolutions and linear layers that stayed in float.
    int8_macs_percent : float
        Share of the multiply-accumulates of convolutions and linear layers that is computed in INT8.
    float_bytes : int
        Size of the float model's parameters and buffers.
    payload_bytes : int
        Size of the payload.
    payload_sha256 : str
        The artifact's digest.
    torch_version, sparkq_version : str
        What wrote it.
    accuracy : dict
        What was measured on it, by name; empty where nothing was.
    golden : Golden
        Input and output for the check at load.
    """

    name: str
    task: str
    preprocess: PreprocessConfig
    preprocess_origin: dict[str, str]
    labels: tuple[str, ...] | None
    classes: int
    output_length: int
    scores: str | None
    embedding_layer: str | None
    detection: DetectionConfig | None
    quantization: QuantizationConfig
    calibration_images: int
    calibration_fingerprint: str
    calibration_profile: CalibrationProfile | None
    float_layers: tuple[str, ...]
    int8_macs_percent: float
    float_bytes: int
    payload_bytes: int
    payload_sha256: str
    torch_version: str
    sparkq_version: str
    accuracy: dict[str, float]
    golden: Golden

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the payload's input in pixels."""
        return self.preprocess.input_size

    @property
    def model_task_config(self) -> ModelTaskConfig:
        """The model task with its settings."""
        return ModelTaskConfig(self.task, self.embedding_layer, self.detection or DetectionConfig())

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "protocol": PROTOCOL,
            **{key: value for key, value in asdict(self).items() if key not in _WRITTEN_APART},
            "input_size": list(self.input_size),
            "preprocess": to_mapping(self.preprocess),
            "detection": detection_mapping(self),
            "quantization": to_mapping(self.quantization),
            "calibration_profile": None if self.calibration_profile is None else self.calibration_profile.to_mapping(),
            "golden": self.golden.to_mapping(),
        }

    def dumps(self) -> bytes:
        """UTF-8 JSON."""
        return json.dumps(self.to_mapping(), indent=1, ensure_ascii=False).encode()

    @classmethod
    def loads(cls, data: bytes, *, place: str) -> Manifest:
        """Read a manifest.

        Raises
        ------
        ArtifactFormatError
            If it is not a manifest.
        ArtifactProtocolError
            If another protocol wrote it.
        """
        if len(data) > _MOST_MANIFEST_BYTES:
            raise ArtifactFormatError(
                f"{place}: expected a manifest of at most {_MOST_MANIFEST_BYTES} bytes; got {len(data)}.", hint=_HINT,
            )
        try:
            mapping = json.loads(data)
            protocol = mapping.pop("protocol")
        # A list has a pop of its own, and deep nesting ends in RecursionError.
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
            raise ArtifactFormatError(
                f"{place}: expected a JSON manifest with a protocol; got {error}.",
                hint="copy the file again, or make it anew with `sparkq quantize`.",
            ) from error
        if type(protocol) is not int or protocol != PROTOCOL:
            raise ArtifactProtocolError(
                f"{place}: expected protocol {PROTOCOL}; got {reprlib.repr(protocol)}.",
                hint="sparkq quantize --model MODEL --weights FILE --calibration-input IMAGES --output FILE.sparkq.",
            )
        try:
            return cls._from_mapping(mapping, place)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError, ConfigError, zlib.error) as error:
            raise ArtifactFormatError(
                f"{place}: expected a complete manifest; got {one_line(error)}.", hint=_HINT,
            ) from error

    @classmethod
    def _from_mapping(cls, mapping: dict[str, Any], place: str) -> Manifest:
        known = {key: mapping[key] for key in cls.__dataclass_fields__}
        # Refuses a task that there is none of.
        ModelTaskConfig(text(known["task"], "task"), known["embedding_layer"])
        known["preprocess"] = _preprocess(mapping, place)
        known["preprocess_origin"] = _preprocess_origin(mapping)
        known["detection"] = _detection(mapping, place)
        known["quantization"] = parse_config(QuantizationConfig, mapping["quantization"], place=f"{place}: quantization")
        profile = mapping["calibration_profile"]
        known["calibration_profile"] = None if profile is None else CalibrationProfile.from_mapping(profile)
        for key in ("name", "calibration_fingerprint", "payload_sha256", "torch_version", "sparkq_version"):
            text(known[key], key)
        for key in ("classes", "calibration_images", "float_bytes", "payload_bytes"):
            whole_number(known[key], key)
        whole_number(known["output_length"], "output_length", least=1, most=_MOST_OUTPUTS)
        if known["embedding_layer"] is not None:
            text(known["embedding_layer"], "embedding_layer")
        known["labels"] = None if mapping["labels"] is None else texts(mapping["labels"], "labels")
        known["float_layers"] = texts(mapping["float_layers"], "float_layers")
        texts(list(known["quantization"].float_layers), "quantization.float_layers")
        known["int8_macs_percent"] = finite_number(mapping["int8_macs_percent"], "int8_macs_percent")
        known["accuracy"] = {
            text(name, "accuracy"): finite_number(value, f"accuracy.{name}")
            for name, value in mapped(mapping["accuracy"], "accuracy").items()
        }
        known["golden"] = Golden.from_mapping(mapping["golden"], known["preprocess"].input_size)
        manifest = cls(**known)
        _require_consistent(manifest)
        return manifest


def _preprocess(mapping: dict[str, Any], place: str) -> PreprocessConfig:
    """Parse the preprocessing, whose sizes an image must be able to have."""
    found = parse_config(PreprocessConfig, mapping["preprocess"], place=f"{place}: preprocess")
    height, width = found.input_size
    size = found.resize.size
    if max(height, width, *(size if isinstance(size, tuple) else (size,))) > _LONGEST_SIDE or height * width > _MOST_PIXELS:
        raise ValueError(
            f"preprocess: expected sides of at most {_LONGEST_SIDE} pixels and an input of at most {_MOST_PIXELS}; got "
            f"resize.size {size} and an input of {height} x {width}"
        )
    return found


def _preprocess_origin(mapping: dict[str, Any]) -> dict[str, str]:
    found = mapped(mapping["preprocess_origin"], "preprocess_origin")
    for key, origin in found.items():
        if key not in PREPROCESS_FIELDS or origin not in PREPROCESS_ORIGINS:
            raise ValueError(
                f"preprocess_origin: expected settings of preprocess, {' or '.join(PREPROCESS_ORIGINS)}; got "
                f"{reprlib.repr(key)}: {reprlib.repr(origin)}"
            )
    return found


def _detection(mapping: dict[str, Any], place: str) -> DetectionConfig | None:
    """Parse the settings of a detector, anchors included; None for other model tasks."""
    if mapping["task"] != "detection":
        return None
    found = parse_config(DetectionConfig, mapping["detection"], place=f"{place}: detection")
    if found.anchors is None:
        raise ValueError("detection without anchors")
    return found


def _require_consistent(manifest: Manifest) -> None:
    """Raise `ValueError` where one number contradicts another: what is allocated or looked up by it would not fit."""
    golden, outputs = len(manifest.golden.output), manifest.output_length
    anchors = None if manifest.detection is None else manifest.detection.anchors
    expected = {"classification": outputs, "embedding": 0}.get(manifest.task, manifest.classes)
    if manifest.classes != expected:
        raise ValueError(f"classes: expected {expected}, for {outputs} outputs of task {manifest.task}; got {manifest.classes}")
    if anchors is not None and (manifest.classes < 2 or anchors.count * (manifest.classes + 4) != outputs):
        raise ValueError(
            f"output_length: expected that of {anchors.count} anchors and {manifest.classes} classes, two or more; got {outputs}"
        )
    if golden > outputs or anchors is None and golden != outputs:
        raise ValueError(f"golden.output: expected {outputs} numbers, as many as output_length; got {golden}")
    if manifest.labels is not None and len(manifest.labels) != manifest.classes:
        raise ValueError(f"labels: expected {manifest.classes}, one a class; got {len(manifest.labels)}")
    if manifest.scores not in _SCORES:
        raise ValueError(f"scores: expected logits, probabilities or none; got {reprlib.repr(manifest.scores)}")
    if re.fullmatch("[0-9a-f]{64}", manifest.payload_sha256) is None:
        raise ValueError(f"payload_sha256: expected 64 hexadecimal digits; got {reprlib.repr(manifest.payload_sha256)}")
    profile = manifest.calibration_profile
    if profile is not None and any(label >= manifest.classes for label, _ in profile.label_counts):
        raise ValueError(f"calibration_profile.label_counts: expected classes below {manifest.classes}; got a larger one")


def detection_mapping(manifest: Manifest) -> dict[str, Any] | None:
    """Return the settings that turn outputs into boxes, in plain JSON types; None for other model tasks."""
    return None if manifest.detection is None else to_mapping(manifest.detection)
