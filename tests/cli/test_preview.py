"""``sparkq preview``: one page, without Spark."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import HANG_SECONDS
from tests.cli.conftest import IMAGES, Command


def test_an_artifact(sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """The document says what the page shows; nothing but the page is written."""
    found = sparkq("preview", "--model", model, "--input", images, "--output", tmp_path / "out" / "sheet.html", "--json")
    assert found.code == 0, found.err
    document = found.document
    assert (document["preview"], document["images"], document["found"]) == (str(tmp_path / "out" / "sheet.html"), 24, IMAGES)
    assert (document["error_codes"], document["warnings"]) == ({}, []) and sum(document["labels"].values()) == 24
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sheet.html"]
    page = (tmp_path / "out" / "sheet.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.count("<img") == 48


def test_a_float_model(sparkq: Command, images: Path, tmp_path: Path) -> None:
    """With the options of ``sparkq quantize``; where each setting comes from is printed."""
    found = sparkq(
        "preview", "--model", "sparkq.demo.digits:DigitsNet", "--input", images, "--output", tmp_path / "x.html", "--images", "2",
        "--preprocess-resize-mode", "squash", "--preprocess-resize-size", "32", "--preprocess-mean", "0.5",
        "--preprocess-std", "1",
    )
    assert found.code == 0, found.err
    assert "2 of 40 files" in found.out
    assert "pixels  given: resize.mode squash, resize.size [32, 32], mean [0.5, 0.5, 0.5]" in found.out
    assert "pixels  default: crop none, interpolation bilinear" in found.out


@pytest.mark.parametrize(("changes", "words"), [
    ({"--output": "sheet.png"}, "expected a FILE.html; got sheet.png"),
    ({"--output": "{images}/sheet.html"}, "expected a place outside of"),
    ({"--input": "absent"}, "absent"),
    ({"--model": "absent.sparkq"}, "absent.sparkq"),
    ({"--images": "0"}, "images: expected a whole number"),
])
def test_refused(sparkq: Command, images: Path, model: Path, changes: dict[str, str], words: str) -> None:
    options = {"--model": str(model), "--input": str(images), "--output": "sheet.html", **changes}
    found = sparkq("preview", *(part.format(images=images) for pair in options.items() for part in pair))
    assert found.code == 1 and words in found.err
    assert not Path("sheet.html").exists()


def test_spark_is_not_loaded(images: Path, model: Path, tmp_path: Path) -> None:
    """It answers on a machine without Java."""
    script = (
        "import sys; from sparkq.cli import main; "
        "code = main(['preview', '--model', sys.argv[1], '--input', sys.argv[2], '--output', sys.argv[3]]); "
        "sys.exit(code or bool({'pyspark', 'py4j'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(model), str(images), str(tmp_path / "sheet.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
