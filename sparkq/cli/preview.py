"""``sparkq preview``: a sheet of images as a model gets them, with its best labels."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparkq.cli.artifacts import preprocess_lines
from sparkq.cli.command import Command
from sparkq.config import PreprocessOverrides
from sparkq.config.checks import check_positive
from sparkq.config.parsing import path_field, spec_field, to_mapping
from sparkq.storage import shown

__all__ = ["COMMAND", "PreviewOptions"]


@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """Options of ``sparkq preview``.

    Parameters
    ----------
    model : str
        Artifact FILE.sparkq, path or uri, or a float model as in sparkq quantize: module:factory, file.py:factory, timm:NAME,
        torchvision:NAME, onnx:FILE or pt2:FILE.
    input : str
        Directory of images (searched recursively) or one image, path or uri.
    output : str
        FILE.html to write, path or uri, outside of the input; a file that is there is replaced.
    model_sha256 : str, optional
        The sha256 that an artifact's file must have, as sha256sum prints it.
    weights : str, optional
        Of a float model, as in sparkq quantize.
    preprocess : PreprocessOverrides
        Of a float model, as in sparkq quantize.
    task : str
        Of a float model: classification, embedding or detection.
    embedding_layer : str, optional
        With task embedding, as in sparkq quantize.
    labels : str, optional
        Of a float model: text file with one class name a line.
    glob : str, optional
        Only files whose name matches, e.g. *.jpg.
    images : int
        How many, in the order of their paths.
    """

    model: str = spec_field()
    input: str = path_field()
    output: str = path_field(default="preview.html")
    model_sha256: str | None = None
    weights: str | None = path_field(default=None)
    preprocess: PreprocessOverrides = PreprocessOverrides()
    task: str = "classification"
    embedding_layer: str | None = None
    labels: str | None = path_field(default=None)
    glob: str | None = None
    images: int = 24

    def __post_init__(self) -> None:
        check_positive("images", self.images)


def _run(options: PreviewOptions) -> dict[str, Any]:
    from sparkq.model_tasks.labels import read_label_names
    from sparkq.report.run.run import check_place
    from sparkq.workflows.places import require_input, require_writable
    from sparkq.workflows.preview import preview

    check_place(options.output, options.input)
    require_input(options.input)
    require_writable(options.output, what="output", is_folder=False)
    found = preview(
        options.model, options.input, weights=options.weights,
        preprocess=None if options.preprocess == PreprocessOverrides() else options.preprocess,
        labels=None if options.labels is None else read_label_names(options.labels), task=options.task,
        embedding_layer=options.embedding_layer, model_sha256=options.model_sha256, glob=options.glob, images=options.images,
    )
    found.save(options.output)
    return {
        "preview": shown(options.output), "name": found.manifest.name, "task": found.manifest.task,
        "images": len(found.images), "found": found.found, "error_codes": found.error_codes,
        "labels": {str(label): count for label, count in sorted(found.labels.items())},
        "preprocess": to_mapping(found.manifest.preprocess), "preprocess_origin": found.manifest.preprocess_origin,
        "warnings": list(found.warnings),
    }


def _show(result: dict[str, Any]) -> str:
    return "\n".join([
        f"{result['name']}: {result['images']} of {result['found']} files",
        *(f"pixels  {line}" for line in preprocess_lines(result["preprocess"], result["preprocess_origin"])),
        *(f"warning {warning}" for warning in result["warnings"]),
        *(f"error   {count} images {code}" for code, count in result["error_codes"].items()), f"preview {result['preview']}",
    ])


COMMAND = Command(
    PreviewOptions, _run, _show,
    summary="Show images as a model gets them, with its best labels, on one HTML page; without Spark.",
    example="sparkq preview --model model.sparkq --input photos/ --output sheet.html",
)
