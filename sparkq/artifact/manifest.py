"""The artifact's manifest: plain JSON that describes the artifact, read and checked before torch sees a byte."""
from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.artifact.calibration_profile import CalibrationProfile
from sparkq.config import DetectionConfig, ModelTaskConfig, PreprocessConfig, QuantizationConfig
from sparkq.config.parsing import parse_config, to_mapping
from sparkq.errors import ArtifactFormatError, ArtifactProtocolError, ConfigError

__all__ = ["PROTOCOL", "Golden", "Manifest", "detection_mapping"]

PROTOCOL = 3
"""Version of the file format; a reader refuses any other."""

_WRITTEN_APART = ("preprocess", "detection", "quantization", "calibration_profile", "golden")

GOLDEN_BYTES = 16_384
"""A golden input larger than this is stored at reduced size: ResNet-50's whole artifact must stay below 26.5 MB."""


@dataclass(frozen=True, eq=False)
class Golden:
    """One input and what the payload answers to it, checked when a worker loads the model.

    Parameters
    ----------
    pixels : ndarray of uint8 [h, w, 3]
        RGB; each pixel stands for `replication` x `replication` pixels of the input.
    replication : int
        How often a pixel is repeated in each direction.
    output : ndarray of float32 [S]
        The payload's answer on the machine that made the artifact, or the sample of it that its task compares.
    """

    pixels: npt.NDArray[np.uint8]
    replication: int
    output: npt.NDArray[np.float32]

    def __eq__(self, other: object) -> bool:
        # The one that dataclass writes asks an array for its truth.
        if not isinstance(other, Golden):
            return NotImplemented
        return (
            self.replication == other.replication and np.array_equal(self.pixels, other.pixels)
            and np.array_equal(self.output, other.output, equal_nan=True)
        )

    @classmethod
    def reduce(cls, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], int]:
        """Keep every n-th pixel of `image` (uint8 [H, W, 3]), with the smallest n that fits `GOLDEN_BYTES`."""
        replication = 1
        while image[::replication, ::replication].size > GOLDEN_BYTES:
            replication += 1
        return np.ascontiguousarray(image[::replication, ::replication]), replication

    def input(self, input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The golden input, uint8 [H, W, 3]."""
        return expand(self.pixels, self.replication, input_size)


def expand(pixels: npt.NDArray[np.uint8], replication: int, input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Repeat each pixel and cut to (height, width) `input_size`."""
    grown = pixels.repeat(replication, axis=0).repeat(replication, axis=1)
    return np.ascontiguousarray(grown[: input_size[0], : input_size[1]])


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
            "golden": {
                "shape": list(self.golden.pixels.shape),
                "replication": self.golden.replication,
                "pixels_zlib_base64": base64.b64encode(zlib.compress(self.golden.pixels.tobytes(), 9)).decode(),
                "output": [float(number) for number in self.golden.output],
            },
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
        try:
            mapping = json.loads(data)
            protocol = mapping.pop("protocol")
        # A list has a pop of its own, and deep nesting ends in RecursionError.
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
            raise ArtifactFormatError(f"{place}: expected a JSON manifest with a protocol; got {error}.") from error
        if protocol != PROTOCOL:
            raise ArtifactProtocolError(
                f"{place}: expected protocol {PROTOCOL}; got {protocol!r}.",
                hint="read it with the sparkq that wrote it, or write it again with this one.",
            )
        return cls._from_mapping(mapping, place)

    @classmethod
    def _from_mapping(cls, mapping: dict[str, Any], place: str) -> Manifest:
        try:
            golden = mapping["golden"]
            pixels = zlib.decompress(base64.b64decode(golden["pixels_zlib_base64"], validate=True))
            known = {key: mapping[key] for key in cls.__dataclass_fields__}
            # Refuses a task that there is none of.
            ModelTaskConfig(known["task"], known["embedding_layer"])
            known["preprocess"] = parse_config(PreprocessConfig, mapping["preprocess"], place=f"{place}: preprocess")
            known["detection"] = _detection(mapping, place)
            known["quantization"] = parse_config(QuantizationConfig, mapping["quantization"], place=f"{place}: quantization")
            profile = mapping["calibration_profile"]
            known["calibration_profile"] = None if profile is None else CalibrationProfile.from_mapping(profile)
            known["labels"] = None if mapping["labels"] is None else tuple(mapping["labels"])
            known["float_layers"] = tuple(mapping["float_layers"])
            known["golden"] = Golden(
                pixels=np.frombuffer(pixels, np.uint8).reshape(golden["shape"]),
                replication=int(golden["replication"]),
                output=np.asarray(golden["output"], np.float32),
            )
            return cls(**known)
        except (KeyError, TypeError, ValueError, OverflowError, ConfigError, binascii.Error, zlib.error) as error:
            raise ArtifactFormatError(f"{place}: expected a complete manifest; got {type(error).__name__}: {error}.") from error


def _detection(mapping: dict[str, Any], place: str) -> DetectionConfig | None:
    """Parse the settings of a detector, anchors included; None for other model tasks."""
    if mapping["task"] != "detection":
        return None
    found = parse_config(DetectionConfig, mapping["detection"], place=f"{place}: detection")
    if found.anchors is None:
        raise ValueError("detection without anchors")
    return found


def detection_mapping(manifest: Manifest) -> dict[str, Any] | None:
    """Return the settings that turn outputs into boxes, in plain JSON types; None for other model tasks."""
    return None if manifest.detection is None else to_mapping(manifest.detection)
