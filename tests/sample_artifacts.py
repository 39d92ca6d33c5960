"""Artifacts whose payload no engine will open: for tests of the file format, without torch."""
from __future__ import annotations

from typing import Any

import numpy as np

from sparkq.artifact.calibration_profile import ActivationProfile, CalibrationProfile
from sparkq.artifact.file import ModelArtifact, sha256_digest
from sparkq.artifact.manifest import Golden, Manifest
from sparkq.config import PreprocessConfig, QuantizationConfig, ResizeConfig
from sparkq.program.storage import dumps_program
from sparkq.program.types import INPUT, Node, Program, ValueType

PROFILE = CalibrationProfile(
    images=7, activations=(ActivationProfile("conv1", -1.5, 2.25, 0.0125, 0.003), ActivationProfile("add_0", 0.0, 6.0, 0.0, 0.0)),
    score_edges=(0.1, 0.75), score_counts=(2, 1, 4), label_counts=((0, 3), (2, 4)),
)


def sample_manifest(payload: bytes = b"payload", **values: Any) -> Manifest:
    """A manifest that fits `payload`, with every field filled; `values` replace fields."""
    filled: dict[str, Any] = {
        "name": "sample", "task": "classification",
        "preprocess": PreprocessConfig(
            resize=ResizeConfig("shorter_side", 9), crop=(6, 8), interpolation="bicubic", channel_order="BGR",
            rescale="1/127.5", mean=(1.0, 0.5, 0.25), std=2,
        ),
        "preprocess_origin": {"resize.mode": "published", "resize.size": "given", "crop": "given", "interpolation": "default"},
        "labels": ("ant", "bee", "Zürich, \"快\""), "classes": 3, "output_length": 3,
        "scores": "logits", "embedding_layer": None, "detection": None,
        "quantization": QuantizationConfig(observer="min_max", batch_size=4),
        "calibration_images": 7, "calibration_fingerprint": "ab" * 32,
        "calibration_profile": PROFILE, "float_layers": ("fc",),
        "int8_macs_percent": 90.0, "float_bytes": 4000,
        "payload_bytes": len(payload), "payload_sha256": sha256_digest(payload), "torch_version": "2.13.0",
        "sparkq_version": "0.1.0", "accuracy": {"top1": 81.9},
        "golden": Golden(
            pixels=np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3), replication=2,
            output=np.array([0.1, -3.25e-7, 12345.678], np.float32),
        ),
    }
    return Manifest(**{**filled, **values})


def sample_payload(content: bytes = b"payload") -> bytes:
    """A program of three classes for images of 6 x 8 pixels, whose weights are `content` repeated: `load` takes no less."""
    shape = ValueType("float32", (-1, 144)), ValueType("float32", (-1, 3))
    weight = np.resize(np.frombuffer(content or b"\0", np.uint8), (3, 144)).astype(np.float32)
    return dumps_program(Program(
        ValueType("uint8", (-1, 6, 8, 3)), {"fc.weight": weight},
        (
            Node("flat", "aten.view", (INPUT,), {}, ValueType("uint8", (-1, 144))),
            Node("values", "aten._to_copy", ("flat",), {}, shape[0]),
            Node("fc", "aten.linear", ("values", "fc.weight", None), {}, shape[1]),
        ),
        "fc",
    ))


def sample_artifact(payload: bytes = b"payload", **values: Any) -> ModelArtifact:
    """An artifact that `ModelArtifact.loads` accepts."""
    return ModelArtifact(sample_manifest(payload, **values), payload)
