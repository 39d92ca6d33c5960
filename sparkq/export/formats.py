"""The formats that an artifact can be exported to: how each is written, and how what was written is run to be checked."""
from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkq.artifact.file import ModelArtifact
from sparkq.errors import ConfigError, ModelError
from sparkq.metrics.sqnr import sqnr_of
from sparkq.model_tasks import model_task_of
from sparkq.program.types import Program

__all__ = ["FORMATS", "Export", "export_artifact"]

_LEAST_SQNR_DB = 20.0
Images = npt.NDArray[np.uint8]
Outputs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Export:
    """Files of an exported artifact, not yet written.

    Parameters
    ----------
    files : dict of str to bytes
        By suffix; the first is the one that is opened.
    sqnr_db : float, optional
        How near their answer to the artifact's golden input is to the golden output; None where nothing here can run them.
    runner : str
        The package that ran them, or would have.
    """

    files: dict[str, bytes]
    sqnr_db: float | None
    runner: str


@dataclass(frozen=True)
class _Format:
    package: str
    runner: str
    write: Callable[[Program, str], dict[str, bytes]]
    run: Callable[[dict[str, bytes], Images], Outputs]


def _write_onnx(program: Program, name: str) -> dict[str, bytes]:
    from sparkq.export.onnx.model import onnx_bytes

    return {".onnx": onnx_bytes(program, name=name)}


def _run_onnx(files: dict[str, bytes], images: Images) -> Outputs:
    import onnxruntime  # type: ignore[import-untyped]

    session: Any = onnxruntime.InferenceSession(files[".onnx"], providers=["CPUExecutionProvider"])
    output: Outputs = session.run(None, {session.get_inputs()[0].name: images})[0]
    return output


def _write_openvino(program: Program, name: str) -> dict[str, bytes]:
    from sparkq.export.openvino_ir import openvino_ir

    return dict(zip((".xml", ".bin"), openvino_ir(program), strict=True))


def _run_openvino(files: dict[str, bytes], images: Images) -> Outputs:
    from sparkq.engines.openvino_graph.library import openvino

    with tempfile.TemporaryDirectory(prefix="sparkq-") as folder:
        for suffix, data in files.items():
            (Path(folder) / f"model{suffix}").write_bytes(data)
        compiled = openvino.Core().compile_model(f"{folder}/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.array(compiled([images])[0])


def _write_torch(program: Program, name: str) -> dict[str, bytes]:
    from sparkq.export.torch_program import torch_program_bytes

    return {".pt2": torch_program_bytes(program)}


def _run_torch(files: dict[str, bytes], images: Images) -> Outputs:
    from sparkq.export.torch_program import run_torch_program

    return run_torch_program(files[".pt2"], images)


FORMATS: dict[str, _Format] = {
    "onnx": _Format("onnx", "onnxruntime", _write_onnx, _run_onnx),
    "openvino": _Format("openvino", "openvino", _write_openvino, _run_openvino),
    "pt2": _Format("torch", "torch", _write_torch, _run_torch),
}
"""By name."""


def export_artifact(artifact: ModelArtifact, to: str, *, place: str) -> Export:
    """Write an artifact's program in another format, and hold its answer to the golden input against the artifact's.

    Parameters
    ----------
    artifact : ModelArtifact
        Loaded.
    to : str
        A name of `FORMATS`.
    place : str
        The artifact's, for messages.

    Raises
    ------
    ConfigError
        If the package that writes the format is not installed.
    ModelError
        If the format cannot hold the program, or computes something else.
    """
    form = FORMATS[to]
    if importlib.util.find_spec(form.package) is None:
        raise ConfigError(
            f"to: expected a format that can be written here; got {to}, and the package {form.package} is not installed.",
            hint=f"pip install 'sparkq[{form.package}]'.",
        )
    files = form.write(artifact.program(place=place), artifact.manifest.name)
    if importlib.util.find_spec(form.runner) is None:
        return Export(files, None, form.runner)
    manifest = artifact.manifest
    output = form.run(files, manifest.golden.input(manifest.input_size)[np.newaxis])[0]
    sqnr = sqnr_of(manifest.golden.output, np.concatenate(model_task_of(manifest).golden_parts(output)))
    if not sqnr >= _LEAST_SQNR_DB:
        raise ModelError(
            f"{place}: expected its answer to the golden input also as {to}, within {_LEAST_SQNR_DB:.0f} dB; {form.runner} gives "
            f"one {sqnr:.1f} dB from it.", hint="export it to another format, and report this with the model's name.",
        )
    return Export(files, sqnr, form.runner)
