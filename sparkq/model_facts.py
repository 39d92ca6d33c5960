"""What a run manifest says of its model, so that a report needs no artifact: how INT8 stands against float."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sparkq.manifest import Manifest

__all__ = ["ModelFacts"]

_LISTED_LAYERS = 50


@dataclass(frozen=True)
class ModelFacts:
    """A model in a screenful.

    Parameters
    ----------
    name, task, digest : str
        As in its manifest.
    recipe, observer, target : str
        Of the quantization.
    input_size : tuple of int
        (height, width) in pixels.
    classes : int
        Length of the output.
    labels : tuple of str, optional
        The first names of classes; None where only indices are known.
    float_layers : tuple of str
        The first layers in float.
    float_layer_count : int
        How many there are in all.
    int8_macs_percent : float
        Share of the multiply-accumulates in INT8.
    float_bytes, artifact_bytes : int
        Size of the float parameters, and of the artifact's file.
    calibration_images : int
        How many the ranges were measured on.
    accuracy : dict
        What was measured on it, by name.
    torch_version, sparkq_version : str
        What wrote it.
    """

    name: str
    task: str
    digest: str
    recipe: str
    observer: str
    target: str
    input_size: tuple[int, int]
    classes: int
    labels: tuple[str, ...] | None
    float_layers: tuple[str, ...]
    float_layer_count: int
    int8_macs_percent: float
    float_bytes: int
    artifact_bytes: int
    calibration_images: int
    accuracy: dict[str, float]
    torch_version: str
    sparkq_version: str

    @classmethod
    def of(cls, manifest: Manifest, artifact_bytes: int) -> ModelFacts:
        """Of a manifest, and the size of the file that it stands in."""
        config = manifest.quantization
        return cls(
            name=manifest.name, task=manifest.task, digest=manifest.payload_sha256, recipe=config.recipe, observer=config.observer,
            target=config.target, input_size=manifest.input_size, classes=manifest.classes,
            labels=None if manifest.labels is None else manifest.labels[:_LISTED_LAYERS],
            float_layers=manifest.float_layers[:_LISTED_LAYERS], float_layer_count=len(manifest.float_layers),
            int8_macs_percent=manifest.int8_macs_percent, float_bytes=manifest.float_bytes, artifact_bytes=artifact_bytes,
            calibration_images=manifest.calibration_images, accuracy=dict(manifest.accuracy),
            torch_version=manifest.torch_version, sparkq_version=manifest.sparkq_version,
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ModelFacts:
        """What `to_mapping` gave, perhaps by way of JSON."""
        known = {field.name: mapping[field.name] for field in fields(cls)}
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in known.items()})

    @property
    def in_int8(self) -> bool:
        """Whether it is quantized at all."""
        return self.recipe != "none"

    def against_float(self) -> list[tuple[str, str, str]]:
        """Rows of a table: what, float, INT8; only what was measured. None for a float artifact."""
        if not self.in_int8:
            return []
        rows = [("Size", megabytes(self.float_bytes), f"{megabytes(self.artifact_bytes)} "
                f"({self.float_bytes / max(self.artifact_bytes, 1):.1f} times smaller)")]
        top1, drop = self.accuracy.get("top1"), self.accuracy.get("accuracy_drop")
        if top1 is not None:
            floating = "not measured" if drop is None else f"{top1 + drop:.2f} %"
            rows.append(("Top-1 accuracy", floating, f"{top1:.2f} %" + ("" if drop is None else f" ({-drop:+.2f} points)")))
        for key, name, floating, unit in (
            ("agreement", "Same class as float", "100 %", "%"), ("sqnr_db", "SQNR of the outputs", "-", "dB"),
            ("calibration_agreement", "Same class, calibration images", "100 %", "%"),
            ("calibration_sqnr_db", "SQNR, calibration images", "-", "dB"),
        ):
            if key in self.accuracy:
                rows.append((name, floating, f"{self.accuracy[key]:.2f} {unit}"))
        rows.append(("Multiply-accumulates in INT8", "0 %", f"{self.int8_macs_percent:.1f} %"))
        return rows

    def layers_in_float(self) -> str:
        """Their names, or how many more there are."""
        more = self.float_layer_count - len(self.float_layers)
        return (", ".join(self.float_layers) + (f" and {more} more" if more else "")) or "none"


def megabytes(size: int) -> str:
    """A size for people, in units of 1000."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
