"""The report of a quantization: what was tried, what came out, and how INT8 treats each layer. One HTML file."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import Manifest
from sparkq.config import QuantizationConfig
from sparkq.metrics.plausibility import calibration_warnings
from sparkq.quantization.diagnosis import Diagnosis, LayerDiagnosis
from sparkq.quantization.gate import GateAttempt, GateTarget, chosen_attempt, gate_rows
from sparkq.report.preview.preview import sheet_of
from sparkq.report.preview.seen import SeenImage
from sparkq.report.quantization.figures import layer_figure, sensitivity_figure
from sparkq.report.template import render
from sparkq.storage import shown, write_file
from sparkq.version import __version__

__all__ = ["QuantizationReport", "render_quantization_report", "write_quantization_report"]

_WITHOUT_RANGES = {
    "dynamic": "Recipe dynamic takes the range of an activation from every single image while it runs. So no range is calibrated "
    "that could be drawn, nor a sensitivity to it measured.",
    "none": "Recipe none keeps the model in float: there is no range to draw and no sensitivity to measure.",
}


@dataclass(frozen=True, eq=False)
class QuantizationReport:
    """The content of the page.

    Parameters
    ----------
    name : str
        The model's.
    output : str
        Where the artifact was to be written.
    asked : QuantizationConfig
        The recipe that was asked for.
    target : GateTarget
        What the gate asked for.
    attempts : sequence of GateAttempt
        What the gate tried; empty for recipe ``none``.
    artifact : ModelArtifact, optional
        What was written; None if the gate refused.
    calibration_images : int
        How many images the recipe was given.
    calibration_fingerprint : str
        Theirs; shown where the recipe calibrates ranges.
    diagnosis : Diagnosis
        Of the artifact's recipe, or of that asked for where there is none.
    seen_by : Manifest
        Of the artifact, or of the float model where there is none.
    seen : sequence of SeenImage
        Calibration images with that model's answers; without them the page has no sheet.
    """

    name: str
    output: str
    asked: QuantizationConfig
    target: GateTarget
    attempts: Sequence[GateAttempt]
    artifact: ModelArtifact | None
    calibration_images: int
    calibration_fingerprint: str
    diagnosis: Diagnosis
    seen_by: Manifest
    seen: Sequence[SeenImage] = ()

    def chosen(self) -> int | None:
        """Index of the attempt that became the artifact."""
        return None if self.artifact is None else chosen_attempt(self.artifact, self.attempts)


def write_quantization_report(path: str, page: str) -> None:
    """Write a page, whole or not at all, to a local path or a ``pyarrow.fs`` uri.

    Raises
    ------
    InputError
        If the place cannot be written.
    """
    # Names of files may hold bytes that are no UTF-8.
    write_file(path, page.encode(errors="xmlcharrefreplace"), what="report")


def render_quantization_report(report: QuantizationReport) -> str:
    """The page: HTML that asks for no other file and runs no script. Runs on the driver; the same report gives the same page."""
    header, *rows = gate_rows(report.attempts)
    layers = _layers(report)
    return render(
        "quantization/quantization.html", report=report, sheet=sheet_of(report.seen_by, report.seen) if report.seen else None,
        output=shown(report.output), summary=_summary(report), chosen=report.chosen(), header=header, rows=rows,
        layers=sorted(layers, key=lambda layer: (math.inf if layer["order"] is None else layer["order"], layer["number"])),
        without_ranges=_WITHOUT_RANGES.get(_recipe(report).recipe),
        overview=Markup(sensitivity_figure(
            [layer["noise"] for layer in layers], [layer["precision"] == "float" for layer in layers],
        )) if report.diagnosis.sensitivity_images else None,
        warnings=[] if report.artifact is None else calibration_warnings(report.artifact.manifest),
        refused=report.artifact is None, version=__version__,
    )


def _recipe(report: QuantizationReport) -> QuantizationConfig:
    return report.asked if report.artifact is None else report.artifact.manifest.quantization


def _summary(report: QuantizationReport) -> list[tuple[str, str]]:
    chosen, config = report.chosen(), _recipe(report)
    facts = [("Model", report.name), ("Recipe asked for", _described(report.asked))]
    if report.artifact is not None:
        manifest = report.artifact.manifest
        recipe = _described(config) if chosen is None else report.attempts[chosen].recipe
        size = len(report.artifact.dumps())
        facts += [
            ("Recipe written", recipe), ("Artifact", shown(report.output)), ("Digest", manifest.payload_sha256),
            ("Size", f"{size / 1e6:.2f} MB (float {manifest.float_bytes / 1e6:.2f} MB, {manifest.float_bytes / size:.2f} times)"),
            ("MACs in INT8", f"{manifest.int8_macs_percent:.2f} %"),
            ("Layers in float", f"{len(manifest.float_layers)} of {len(report.diagnosis.layers)}"),
            ("Input", "{} x {} pixels".format(*manifest.input_size)), ("Task", manifest.task), _outputs(manifest),
            *((_ACCURACY.get(name, name), f"{value:.6g}") for name, value in manifest.accuracy.items()),
        ]
    facts += [("Target", str(report.target))] if report.attempts else []
    if config.recipe not in _WITHOUT_RANGES:
        facts += [
            ("Observer", config.observer), ("Activations", "8 bits (vnni)" if config.target == "vnni" else "7 bits (avx2)"),
            ("Calibrated on, images", str(report.calibration_images)), ("Their fingerprint", report.calibration_fingerprint),
        ]
    return facts


def _outputs(manifest: Manifest) -> tuple[str, str]:
    if manifest.task == "embedding":
        return "Embedding", f"{manifest.output_length} numbers of layer {manifest.embedding_layer}"
    return "Classes", str(manifest.classes)


_ACCURACY = {
    "images": "Measured on, images", "agreement": "Agreement with float, %", "sqnr_db": "SQNR of the outputs, dB",
    "top1": "Top-1, %", "accuracy_drop": "Drop of accuracy, points", "standard_error": "Standard error of it",
    "boxes": "Boxes of both models", "map50": "Mean average precision, %",
    "mean_cosine": "Cosine similarity with float, mean", "least_cosine": "Cosine similarity with float, least",
    "calibration_cosine": "Cosine similarity on calibration images, mean",
    "calibration_agreement": "Agreement on calibration images, %", "calibration_sqnr_db": "SQNR on calibration images, dB",
}


def _described(config: QuantizationConfig) -> str:
    return config.recipe if config.recipe in _WITHOUT_RANGES else f"{config.recipe}, observer {config.observer}"


def _layers(report: QuantizationReport) -> list[dict[str, Any]]:
    """Collect for each layer, in the network's order, the values that the template shows."""
    in_float = None if report.artifact is None else set(report.artifact.manifest.float_layers)
    noise = [_noise(layer.sensitivity_db) for layer in report.diagnosis.layers]
    total = sum(layer.macs or 0 for layer in report.diagnosis.layers)
    return [
        {
            "number": number, "name": layer.name, "kind": layer.kind, "order": layer.sensitivity_db,
            "shape": " x ".join(map(str, layer.weight_shape)), "macs": _macs(layer, total),
            "precision": "-" if in_float is None else "float" if layer.name in in_float else "INT8",
            "decibels": _decibels(layer.sensitivity_db), "noise": noise[number - 1],
            "bar": round(100 * noise[number - 1] / max(*noise, 1e-9), 1), "inputs": _inputs(layer),
            "clipped": "-" if layer.inputs is None else _percent(layer.inputs.clipped_share),
            "figure": Markup(layer_figure(layer)),
        } for number, layer in enumerate(report.diagnosis.layers, 1)
    ]


def _macs(layer: LayerDiagnosis, total: int) -> str:
    return "-" if layer.macs is None else f"{layer.macs / 1e6:.2f} M ({100 * layer.macs / max(total, 1):.1f} %)"


def _decibels(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if math.isfinite(value) else "infinite" if value > 0 else "none"


def _noise(decibels: float | None) -> float:
    """Amplitude in percent of the signal's, at most 1000; 0 where nothing was measured."""
    return 0.0 if decibels is None else 100 * 10 ** (-max(decibels, -20.0) / 20)


def _inputs(layer: LayerDiagnosis) -> str | None:
    if layer.inputs is None:
        return None
    return f"{layer.inputs.low:.4g} to {layer.inputs.high:.4g}, {_percent(layer.inputs.clipped_share)} of the inputs outside"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share else "0 %"
