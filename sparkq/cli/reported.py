"""``--report FILE.html`` of ``sparkq quantize`` and ``sparkq convert``: written when the gate refuses, too."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sparkq.artifact import ModelArtifact
from sparkq.cli.gated import make_gated
from sparkq.config import PreprocessConfig, QuantizationConfig
from sparkq.errors import GateError
from sparkq.storage import shown

if TYPE_CHECKING:
    from torch import nn

    from sparkq.gate import Attempt, GateTarget, Measured

__all__ = ["save_gated"]


def save_gated(
    model: nn.Module, images: list[Any], preprocess: PreprocessConfig, config: QuantizationConfig, target: GateTarget, *,
    output: str, report: str | None, labels: Sequence[str] | None = None, name: str | None = None,
    labelled: Callable[[ModelArtifact], Callable[[ModelArtifact], Measured]] | None = None,
) -> tuple[ModelArtifact, list[Attempt]]:
    """Make an artifact that reaches `target` and write it, and the report if one is wanted.

    Parameters
    ----------
    model, images, preprocess, config, target, labels, name, labelled
        As for `make_gated`.
    output : str
        Where the artifact is written.
    report : str, optional
        Where the report is written.

    Raises
    ------
    GateError
        If nothing reaches the target; where a report is wanted it is written, and the message names it.
    """
    if report is None:
        artifact, attempts = make_gated(model, images, preprocess, config, target, labels=labels, name=name, labelled=labelled)
        artifact.save(output)
        return artifact, attempts
    from sparkq.report.quantization import write_quantization_report

    name = name or type(model).__name__
    page = partial(_page, model, images, preprocess, config, target, output=output, name=name, held_out=labelled is None)
    try:
        artifact, attempts = make_gated(model, images, preprocess, config, target, labels=labels, name=name, labelled=labelled)
    except GateError as error:
        write_quantization_report(report, page(artifact=None, attempts=error.attempts))
        raise GateError(f"{error.message}report  {shown(report)}\n", hint=error.hint, attempts=error.attempts) from error
    # All of it is made before any of it is written.
    content = page(artifact=artifact, attempts=attempts)
    artifact.save(output)
    write_quantization_report(report, content)
    return artifact, attempts


def _page(
    model: nn.Module, images: list[Any], preprocess: PreprocessConfig, config: QuantizationConfig, target: GateTarget, *,
    output: str, name: str, held_out: bool, artifact: ModelArtifact | None, attempts: Sequence[Attempt],
) -> str:
    from sparkq.gate import split_held_out
    from sparkq.quantization.calibration import calibration_set
    from sparkq.quantization.diagnosis import diagnose
    from sparkq.report.quantization import QuantizationReport, render_quantization_report

    calibration = calibration_set(split_held_out(images)[0] if held_out and attempts else images, preprocess)
    diagnosis = diagnose(model, calibration, preprocess, config if artifact is None else artifact.manifest.quantization)
    return render_quantization_report(QuantizationReport(
        name=name, output=output, asked=config, target=target, attempts=attempts, artifact=artifact,
        calibration_images=len(calibration.images), calibration_fingerprint=calibration.fingerprint, diagnosis=diagnosis,
    ))
