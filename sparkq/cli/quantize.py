"""``sparkq quantize``: a float model and calibration images to an artifact."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.cli.artifacts import show_artifact
from sparkq.cli.command import Command
from sparkq.cli.step_bar import shown_steps
from sparkq.config import ArtifactJob, CalibrationConfig, QuantizationConfig
from sparkq.workflows.make_artifact import make_artifact

__all__ = ["COMMAND", "QuantizeOptions"]


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(ArtifactJob):
    """Options of ``sparkq quantize``.

    Parameters
    ----------
    calibration : CalibrationConfig
        Images like those of the job.
    quantization : QuantizationConfig
        Recipe and observer.
    """

    calibration: CalibrationConfig
    quantization: QuantizationConfig = QuantizationConfig()


def _run(options: QuantizeOptions) -> dict[str, Any]:
    with shown_steps():
        return make_artifact(options, options.calibration, options.quantization)


COMMAND = Command(
    QuantizeOptions, _run, show_artifact,
    summary="Quantize a float model to an INT8 artifact, with calibration images.",
    example="sparkq quantize --config conf/quantize_model.yaml --output model.sparkq",
    is_kept=True,
)
