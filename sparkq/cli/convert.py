"""``sparkq convert``: any float model to an artifact, float or INT8."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.cli.artifacts import show_artifact
from sparkq.cli.command import Command
from sparkq.cli.step_bar import shown_steps
from sparkq.config import ArtifactJob, CalibrationConfig, QuantizationConfig
from sparkq.config.parsing import FILE_SPECS
from sparkq.errors import ConfigError
from sparkq.storage import shown
from sparkq.workflows.make_artifact import make_artifact

__all__ = ["COMMAND", "ConvertOptions"]

_WITHOUT_CALIBRATION = ("none", "dynamic")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(ArtifactJob):
    """Options of ``sparkq convert``; a config file of ``sparkq quantize`` serves as well.

    Parameters
    ----------
    calibration : CalibrationConfig, optional
        Images like those of the job; without them the artifact is a float one.
    quantization : QuantizationConfig, optional
        Recipe and observer; default: recipe none without calibration images, else static.
    """

    calibration: CalibrationConfig | None = None
    quantization: QuantizationConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        recipe = self.recipe().recipe
        if self.calibration is None and recipe not in _WITHOUT_CALIBRATION:
            raise ConfigError(
                f"calibration.input: expected calibration images for recipe {recipe}; got none.",
                hint="give --calibration-input, or leave the recipe out for a float artifact.",
            )

    def recipe(self) -> QuantizationConfig:
        """Return the recipe that was asked for, or the one that fits."""
        return self.quantization or QuantizationConfig(recipe="none" if self.calibration is None else "static")


def _run(options: ConvertOptions) -> dict[str, Any]:
    with shown_steps():
        return {**make_artifact(options, options.calibration, options.recipe()), "model": _shown_spec(options.model)}


def _shown_spec(spec: str) -> str:
    kind, _, path = spec.partition(":")
    return f"{kind}:{shown(path)}" if kind in FILE_SPECS else spec


COMMAND = Command(
    ConvertOptions, _run, show_artifact,
    summary="Turn an ONNX file, a .pt2 program or any float model into an artifact, float or INT8.",
    example="sparkq convert --model onnx:m.onnx --preprocess-crop 224 --preprocess-mean 0 --preprocess-std 1 --output m.sparkq",
    is_kept=True,
)
