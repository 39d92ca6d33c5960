"""Facts about the model in a run manifest, such as how INT8 stands against float, so that a report needs no artifact."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sparkq.artifact.manifest import Manifest

__all__ = ["ModelFacts"]

_LISTED_LAYERS, _NAMED_LABELS = 50, 5
_COMPARED = {
    "agreement": ("Same class as float", " %"), "sqnr_db": ("SQNR of the outputs", " dB"),
    "calibration_agreement": ("Same class, calibration images", " %"),
    "calibration_sqnr_db": ("SQNR, calibration images", " dB"), "cosine": ("Cosine similarity to float", ""),
}
# Shown in a row of their own, or in words.
_SHOWN_APART = ("images", "top1", "accuracy_drop", "standard_error")


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
        """Take the facts from a manifest and the size of the file that it stands in."""
        config = manifest.quantization
        return cls(
            name=manifest.name, task=manifest.task, digest=manifest.payload_sha256, recipe=config.recipe,
            observer=config.observer, target=config.target, input_size=manifest.input_size, classes=manifest.classes,
            labels=None if manifest.labels is None else manifest.labels[:_NAMED_LABELS],
            float_layers=manifest.float_layers[:_LISTED_LAYERS], float_layer_count=len(manifest.float_layers),
            int8_macs_percent=manifest.int8_macs_percent, float_bytes=manifest.float_bytes, artifact_bytes=artifact_bytes,
            calibration_images=manifest.calibration_images, accuracy=dict(manifest.accuracy),
            torch_version=manifest.torch_version, sparkq_version=manifest.sparkq_version,
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ModelFacts:
        """Rebuild the object from the mapping of `to_mapping`, perhaps by way of JSON."""
        known: dict[str, Any] = {
            field.name: tuple(mapping[field.name]) if isinstance(mapping[field.name], list) else mapping[field.name]
            for field in fields(cls)
        }
        return cls(**known)

    @property
    def in_int8(self) -> bool:
        """Whether it is quantized at all."""
        return self.recipe != "none"

    def recipe_line(self) -> str:
        """Describe in one line how the model was quantized."""
        if not self.in_int8:
            return "in float (recipe none)"
        if self.recipe == "dynamic":
            return "INT8, recipe dynamic, ranges taken from every image"
        bits = "8-bit activations (vnni)" if self.target == "vnni" else "7-bit activations (avx2)"
        return f"INT8, recipe {self.recipe}, observer {self.observer}, {bits}, calibrated on {self.calibration_images} images"

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of all that there is to say beside the name and `recipe_line`."""
        measured = "not measured" if not self.accuracy else ", ".join(
            f"{key.replace('_', ' ')} {value:.6g}" for key, value in self.accuracy.items()
        )
        size = megabytes(self.artifact_bytes)
        return [
            ("Input", "{} x {} pixels".format(*self.input_size)),
            *([("Classes", f"{self.classes}{self._names()}")] if self.classes else []),
            ("Accuracy", measured), ("Size", f"{size} (float {megabytes(self.float_bytes)})" if self.in_int8 else size),
            *([("Layers in float", self.layers_in_float())] if self.in_int8 else []), ("Digest", self.digest),
            ("Written by", f"sparkq {self.sparkq_version}, torch {self.torch_version}"),
        ]

    def _names(self) -> str:
        if not self.labels:
            return ", indices only"
        return f": {', '.join(self.labels[:_NAMED_LABELS])}{' ...' if self.classes > _NAMED_LABELS else ''}"

    def against_float(self) -> list[tuple[str, str, str, str]]:
        """Rows of a table: what, float, INT8, difference; only what was measured; none for a float artifact."""
        if not self.in_int8:
            return []
        rows = [(
            "Size", megabytes(self.float_bytes), megabytes(self.artifact_bytes),
            f"{self.float_bytes / max(self.artifact_bytes, 1):.1f} times less",
        )]
        top1, drop = self.accuracy.get("top1"), self.accuracy.get("accuracy_drop")
        if top1 is not None and drop is None:
            rows.append(("Top-1 accuracy", "not measured", f"{top1:.2f} %", ""))
        elif top1 is not None and drop is not None:
            rows.append(("Top-1 accuracy", f"{top1 + drop:.2f} %", f"{top1:.2f} %", f"{0 - drop:+.2f} points"))
        for key, value in self.accuracy.items():
            if key not in _SHOWN_APART:
                name, unit = _COMPARED.get(key, (key, ""))
                rows.append((name, "", f"{value:.4g}{unit}", ""))
        rows.append(("MACs in INT8", "0 %", f"{self.int8_macs_percent:.1f} %", ""))
        return rows

    def layers_in_float(self) -> str:
        """Name the layers in float, or say how many more there are."""
        more = self.float_layer_count - len(self.float_layers)
        return (", ".join(self.float_layers) + (f" and {more} more" if more else "")) or "none"


def megabytes(size: int) -> str:
    """A size for people, in units of 1000."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
