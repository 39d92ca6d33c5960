"""``sparkq inspect``: what an artifact says of itself."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.artifact.file import ModelArtifact
from sparkq.cli.artifacts import preprocess_lines
from sparkq.cli.command import Command
from sparkq.config.parsing import path_field
from sparkq.program.text import program_text
from sparkq.storage import read_file, shown

__all__ = ["COMMAND", "InspectOptions"]


@dataclass(frozen=True)
class InspectOptions:
    """Options of ``sparkq inspect``.

    Parameters
    ----------
    model : str
        Artifact, path or uri.
    model_sha256 : str, optional
        The sha256 that the artifact's file must have, as sha256sum prints it.
    graph : bool
        Show the program as well: an operator a line, in INT8 or float, with its shape and its share of the work.
    """

    model: str = path_field()
    model_sha256: str | None = None
    graph: bool = False


def _run(options: InspectOptions) -> dict[str, Any]:
    data = read_file(options.model, what="artifact")
    artifact = ModelArtifact.loads(data, place=shown(options.model), sha256=options.model_sha256)
    program = artifact.program(place=shown(options.model))
    mapping = artifact.manifest.to_mapping()
    # The golden pair is for machines; the rest of the manifest is short enough to read.
    golden = mapping.pop("golden")
    graph = {"graph": program_text(program)} if options.graph else {}
    return {"path": shown(options.model), **mapping, "file_bytes": len(data), "golden_shape": golden["shape"], **graph}


def _show(result: dict[str, Any]) -> str:
    shown = {
        "model": f"{result['name']} ({_outputs(result)})",
        "input": f"{result['input_size'][0]} x {result['input_size'][1]} uint8 RGB",
        **_preprocess(result),
        **({"labels": _labels(result["labels"])} if result["classes"] else {}),
        "recipe": ", ".join(f"{key} {value}" for key, value in result["quantization"].items()),
        "calibrated": f"on {result['calibration_images']} images, fingerprint {result['calibration_fingerprint'][:12]}",
        "in float": ", ".join(result["float_layers"]) or "no layer",
        "size": _size(result),
        "accuracy": ", ".join(f"{key} {value}" for key, value in result["accuracy"].items()) or "not measured",
        "digest": result["payload_sha256"],
        "written by": f"sparkq {result['sparkq_version']}, torch {result['torch_version']}, protocol {result['protocol']}",
    }
    lines = [result["path"], *(f"{key:<11} {value}" for key, value in shown.items())]
    return "\n".join([*lines, *(["", result["graph"]] if "graph" in result else [])])


def _preprocess(result: dict[str, Any]) -> dict[str, str]:
    """A line for each origin of settings; a mapping has each key once."""
    lines = preprocess_lines(result["preprocess"], result["preprocess_origin"])
    return {"preprocess" if not number else " " * number: line for number, line in enumerate(lines)}


def _outputs(result: dict[str, Any]) -> str:
    if result["task"] == "embedding":
        return f"embedding, {result['output_length']} numbers of layer {result['embedding_layer']}"
    if result["task"] == "detection":
        return f"detection, {result['classes']} classes with the background, boxes above {result['detection']['score_threshold']}"
    return f"{result['task']}, {result['classes']} classes, scores from {result['scores']}"


def _labels(names: list[str] | None) -> str:
    return "indices only" if names is None else f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"


def _size(result: dict[str, Any]) -> str:
    file, payload, floating = (result[key] for key in ("file_bytes", "payload_bytes", "float_bytes"))
    compared = f"float {floating / 1e6:.2f} MB, {floating / file:.2f} times"
    if result["quantization"]["entropy_coding"]:
        compared += f"; decoded {payload / 1e6:.2f} MB, {payload / file:.2f} times"
    return f"{file / 1e6:.2f} MB ({compared})"


COMMAND = Command(
    InspectOptions, _run, _show, summary="Show what an artifact says of itself.", example="sparkq inspect --model model.sparkq",
)
