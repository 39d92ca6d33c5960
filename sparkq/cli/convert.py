"""``sparkq convert``: any float model to an artifact, float or INT8."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparkq.cli.command import Command
from sparkq.cli.reported import save_gated
from sparkq.config import CalibrationConfig, PreprocessConfig, QuantizationConfig, check_choice
from sparkq.config_parsing import FILE_SPECS, path_field, spec_field
from sparkq.errors import ConfigError
from sparkq.storage import shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["COMMAND", "ConvertOptions"]

_WITHOUT_CALIBRATION = ("none", "dynamic")


@dataclass(frozen=True)
class ConvertOptions:
    """Options of ``sparkq convert``; a config file of ``sparkq quantize`` serves as well.

    Parameters
    ----------
    preprocess : PreprocessConfig
        From an image to the model's input.
    model : str
        Float model: onnx:FILE, pt2:FILE, module:factory, file.py:factory, timm:NAME or torchvision:NAME.
    output : str
        The artifact to write, NAME.sparkq; path or uri.
    weights : str, optional
        A .safetensors file, a state_dict written by torch.save, or an ONNX file with the model's names.
    task : str
        classification.
    labels : str, optional
        Text file with one class name a line.
    name : str, optional
        Model name in the artifact; default: the file's name, or the model's class.
    calibration : CalibrationConfig, optional
        Images like those of the job; without them the artifact is a float one.
    quantization : QuantizationConfig, optional
        Recipe and observer; default: recipe none without calibration images, else static.
    report : str, optional
        FILE.html to write, path or uri: the gate's attempts, each layer's sensitivity, weights and activations. Needs
        sparkq[report].
    master : str, optional
        Spark master where no session exists and calibration images are read; default local[*].
    """

    preprocess: PreprocessConfig
    model: str = spec_field()
    output: str = path_field()
    weights: str | None = path_field(default=None)
    task: str = "classification"
    labels: str | None = path_field(default=None)
    name: str | None = None
    calibration: CalibrationConfig | None = None
    quantization: QuantizationConfig | None = None
    report: str | None = path_field(default=None)
    master: str | None = None

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("classification",))
        recipe = self.recipe().recipe
        if self.calibration is None and recipe not in _WITHOUT_CALIBRATION:
            raise ConfigError(
                f"calibration.input: expected calibration images for recipe {recipe}; got none.",
                hint="give --calibration-input, or leave the recipe out for a float artifact.",
            )

    def recipe(self) -> QuantizationConfig:
        """What is asked for, or what fits."""
        return self.quantization or QuantizationConfig(recipe="none" if self.calibration is None else "static")


def _run(options: ConvertOptions) -> dict[str, Any]:
    from sparkq.float_model import load_float_model, require_image_shape
    from sparkq.gate import GateTarget
    from sparkq.labels import read_label_names
    from sparkq.report.extra import check_report
    from sparkq.spark.session import session_for
    from sparkq.spark.sources import calibration_images

    # What can be wrong without Spark is found before Spark is started, and a float artifact needs no Spark at all.
    if options.report is not None:
        check_report(options.report)
    model = load_float_model(options.model, options.weights)
    require_image_shape(model, options.preprocess.input_size)
    labels = None if options.labels is None else read_label_names(options.labels)
    images: list[Any] = [_pattern(options.preprocess.input_size)]
    if options.calibration is not None:
        with session_for(options.master) as spark:
            calibration = options.calibration
            images = list(calibration_images(spark, calibration.input, images=calibration.images, glob=calibration.glob))
    artifact, _ = save_gated(
        model, images, options.preprocess, options.recipe(), GateTarget(), output=options.output, report=options.report,
        labels=labels, name=options.name,
    )
    manifest = artifact.manifest
    return {
        "output": shown(options.output),
        "model": _shown_spec(options.model),
        "name": manifest.name,
        "recipe": manifest.quantization.recipe,
        "model_digest": artifact.digest,
        "classes": manifest.classes,
        "input_size": list(manifest.input_size),
        "calibration_images": manifest.calibration_images,
        "float_layers": list(manifest.float_layers),
        "float_bytes": manifest.float_bytes,
        "artifact_bytes": len(artifact.dumps()),
        "report": None if options.report is None else shown(options.report),
    }


def _shown_spec(spec: str) -> str:
    kind, _, path = spec.partition(":")
    return f"{kind}:{shown(path)}" if kind in FILE_SPECS else spec


def _pattern(input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image for the golden input where there is none: the same bytes on every machine, no two regions alike."""
    import numpy as np

    row, column = np.indices(input_size)
    channels = [row * 5 + column * 3 + row * column // 7, row * 2 + column * 7, row * column // 3 + column]
    return (np.stack(channels, axis=2) % 256).astype(np.uint8)


def _show(result: dict[str, Any]) -> str:
    height, width = result["input_size"]
    lines = [
        f"{result['output']}: {result['name']}, recipe {result['recipe']}, {result['classes']} classes, input {height} x {width}",
        f"from    {result['model']}",
        f"size    {result['artifact_bytes'] / 1e6:.2f} MB (float {result['float_bytes'] / 1e6:.2f} MB)",
        f"digest  {result['model_digest']}",
    ]
    if result["recipe"] != "none":
        lines.append(f"INT8    calibrated on {result['calibration_images']} images")
        if result["float_layers"]:
            lines.append(f"float   {len(result['float_layers'])} layers stayed in float: {', '.join(result['float_layers'][:5])}")
    if result["report"] is not None:
        lines.append(f"report  {result['report']}")
    return "\n".join(lines)


COMMAND = Command(
    ConvertOptions, _run, _show,
    summary="Turn an ONNX file, a .pt2 program or any float model into an artifact, float or INT8.",
    example="sparkq convert --model onnx:model.onnx --preprocess-crop 224 --output model.sparkq",
)
