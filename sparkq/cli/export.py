"""``sparkq export``: an artifact's program as ONNX, as OpenVINO's files or as a torch program."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sparkq.artifact.file import ModelArtifact
from sparkq.cli.command import Command
from sparkq.config.checks import check_choice
from sparkq.config.parsing import path_field
from sparkq.errors import ConfigError
from sparkq.export.formats import FORMATS, export_artifact
from sparkq.storage import shown, write_file

__all__ = ["COMMAND", "ExportOptions"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of ``sparkq export``.

    Parameters
    ----------
    model : str
        Artifact, path or uri.
    to : str
        onnx (INT8 as QuantizeLinear and DequantizeLinear), openvino (an .xml file, and a .bin file beside it) or pt2 (what
        torch.export.load reads).
    output : str
        File to write, path or uri; ends in .onnx, .xml or .pt2.
    model_sha256 : str, optional
        The sha256 that the artifact's file must have, as sha256sum prints it.
    """

    model: str = path_field()
    to: str
    output: str = path_field()
    model_sha256: str | None = None

    def __post_init__(self) -> None:
        check_choice("to", self.to, tuple(FORMATS))
        suffix = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}[self.to]
        if PurePosixPath(self.output).suffix != suffix:
            raise ConfigError(f"output: expected a name that ends in {suffix} for {self.to}; got {shown(self.output)}.")


def _run(options: ExportOptions) -> dict[str, Any]:
    artifact = ModelArtifact.load(options.model, sha256=options.model_sha256)
    export = export_artifact(artifact, options.to, place=shown(options.model))
    stem = options.output[:-len(PurePosixPath(options.output).suffix)]
    written = {f"{stem}{suffix}": data for suffix, data in export.files.items()}
    for path, data in written.items():
        write_file(path, data, what="exported model")
    return {
        "model": artifact.manifest.name, "model_digest": artifact.digest, "to": options.to,
        "files": [{"path": shown(path), "bytes": len(data)} for path, data in written.items()],
        "checked_with": None if export.sqnr_db is None else export.runner,
        "golden_sqnr_db": None if export.sqnr_db is None else round(min(export.sqnr_db, 200.0), 1),
    }


def _show(result: dict[str, Any]) -> str:
    files = "\n".join(f"{entry['path']}: {entry['bytes'] / 1e6:.2f} MB" for entry in result["files"])
    if result["checked_with"] is None:
        return f"{files}\nnot run here: the package that runs {result['to']} is not installed"
    return (
        f"{files}\n{result['checked_with']} gives the artifact's answer to its golden input, "
        f"{result['golden_sqnr_db']} dB from it"
    )


COMMAND = Command(
    ExportOptions, _run, _show, summary="Write an artifact's model as ONNX, OpenVINO's files or a torch program.",
    example="sparkq export --model model.sparkq --to onnx --output model.onnx", is_kept=True,
)
