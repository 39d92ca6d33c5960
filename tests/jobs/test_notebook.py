"""``jobs/predict_images.ipynb``: committed without outputs, and executed from a fresh state on a real kernel."""
from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests import HANG_SECONDS, ROOT
from tests.java_start import clean_environment

NOTEBOOK = ROOT / "jobs" / "predict_images.ipynb"


def _cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_committed_as_nobody_has_run_it() -> None:
    """No outputs, whose pictures would be of somebody's images; lines that need no scrolling; parameters first."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in _cells(notebook))
    assert max(len(line) for cell in _cells(notebook) for line in cell.source.splitlines()) <= 110
    assert _cells(notebook)[0].metadata["tags"] == ["parameters"]
    # A job is called, not defined: what the notebook says of pictures is all that it defines.
    assert "mapInArrow" not in "".join(cell.source for cell in _cells(notebook))
    for cell in _cells(notebook):
        ast.parse(cell.source)


@pytest.mark.jvm
def test_it_runs_from_a_fresh_state(tmp_path: Path) -> None:
    """Offline, on the digits: every one gets a row, few are wrong, and these are what the last picture shows."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = clean_environment() | {"SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(NOTEBOOK.parent.parent)}
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=HANG_SECONDS, kernel_name="python3", resources=resources)
    client.execute(env=environment)
    shown = ["".join(map(_text, cell.outputs)) for cell in _cells(notebook)]
    run = next(text for text in shown if "RunReport(" in text)
    assert "rows=500, errors=0" in run
    # The bar, of text or as a widget, has come to its end.
    assert "500/500" in run + str(notebook.metadata.get("widgets"))
    data = [output.get("data", {}) for cell in _cells(notebook) for output in cell.outputs]
    pictures = [one["image/png"] for one in data if "image/png" in one]
    assert len(pictures) == 2 and all(len(picture) > 10_000 for picture in pictures)
    doubtful = next(text for text in shown if "truth" in text)
    first = doubtful.splitlines()[1].split()
    assert first[-3] != first[-2], "the first row is one whose label is wrong"
    assert {path.name for path in tmp_path.iterdir()} == {"sparkq-notebook"}


def _text(output: Any) -> str:
    data = output.get("data", {})
    return str(output.get("text", "")) + str(data.get("text/plain", "")) + " ".join(data)
