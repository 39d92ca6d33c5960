"""A program as OpenVINO's intermediate representation: an XML file of operators and a file of weights."""
from __future__ import annotations

import tempfile
from pathlib import Path

from sparkq.engines.openvino_graph.build import openvino_model
from sparkq.engines.openvino_graph.library import openvino
from sparkq.program.types import Program

__all__ = ["openvino_ir"]


def openvino_ir(program: Program) -> tuple[bytes, bytes]:
    """Write a program as ``Core.read_model`` reads it, for any number of images.

    Returns
    -------
    (bytes, bytes)
        The ``.xml`` file and the ``.bin`` file that belongs beside it.

    Raises
    ------
    EngineError
        If OpenVINO has no node for an operator.
    """
    with tempfile.TemporaryDirectory(prefix="sparkq-") as folder:
        path = Path(folder) / "model.xml"
        # What was quantized stays as it is, and what was not in float32.
        openvino.save_model(openvino_model(program, None), str(path), compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()
