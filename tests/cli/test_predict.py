"""``sparkq predict``: images to Parquet and one JSON document, or one sentence and nothing written."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import sys
import termios
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import SparkSession

from sparkq.artifact.file import ModelArtifact
from sparkq.artifact.manifest import PROTOCOL
from sparkq.cli import main
from sparkq.model_tasks.columns import prediction_fields
from tests.cli.conftest import IMAGES, TRACEBACK, Command, tree
from tests.models import digit_files, digits, digits_artifact, encoded, one_label_artifact


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(folder).to_pylist()
    return {row["path"].rpartition("/")[2]: row for row in rows}


def test_document_and_parquet(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """The document's figures, and the rows that they count."""
    found = sparkq("predict", "--model", model, "--input", images, "--output", tmp_path / "out", "--json", "--top-k", "3")
    assert found.code == 0, found.err
    document = found.document
    assert (document["rows"], document["ok"], document["errors"]) == (IMAGES, IMAGES, 0)
    assert document["output"] == str(tmp_path / "out")
    assert (document["model_digest"], document["engine"]) == (ModelArtifact.load(str(model)).digest, {"fbgemm": IMAGES})
    assert document["seconds"] > 0
    assert document["images_per_second"] == pytest.approx(IMAGES / document["seconds"], rel=0.01)
    rows = _rows(tmp_path / "out")
    assert rows.keys() == {path.name for path in images.iterdir()}
    assert {len(row["top_k"]) for row in rows.values()} == {3}
    assert {row["model_digest"] for row in rows.values()} == {document["model_digest"]}
    assert "content" not in rows["000.png"] and rows["000.png"].keys() >= set(prediction_fields("classification").names)


def _run_manifest(output: Path) -> dict[str, Any]:
    """The only one."""
    [path] = (output / "_sparkq").glob("*.json")
    run = json.loads(path.read_text("utf-8"))
    assert isinstance(run, dict) and path.stem == run["run_id"]
    return run


def test_run_manifest(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """What was printed, and with which settings; no drift was asked for, so that nothing is said of it."""
    found = sparkq("predict", "--model", model, "--input", images, "--output", tmp_path / "out", "--json", "--top-k", "2")
    run = _run_manifest(tmp_path / "out")
    assert {**run, "already_committed": False} == found.document
    settings = run["settings"]
    assert (run["drift"], run["recalibrate"], run["rows"]) == (None, None, IMAGES)
    assert (settings["top_k"], settings["drift_sample"], settings["input"]) == (2, 0.0, str(images))
    assert spark.read.parquet(str(tmp_path / "out")).count() == IMAGES


@pytest.mark.parametrize("kind", ["same", "inverted"])
def test_drift(
    spark: SparkSession, sparkq: Command, model: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture,
) -> None:
    """In the document, in the run manifest, as a warning in the log, and as a line for people."""
    (tmp_path / "in").mkdir()
    for index, image in enumerate(digits()[1].images[:IMAGES]):
        (tmp_path / "in" / f"{index}.png").write_bytes(encoded(image if kind == "same" else 255 - image))
    arguments = ["predict", "--model", model, "--input", tmp_path / "in", "--drift-sample", "1", "--overwrite"]
    found = sparkq(*arguments, "--output", tmp_path / "out", "--json")
    assert found.code == 0, found.err
    drift = found.document["drift"]
    assert drift["images"] == IMAGES
    assert found.document["recalibrate"] is drift["recalibrate"] is (kind == "inverted")
    run = _run_manifest(tmp_path / "out")
    assert (run["recalibrate"], run["drift"]) == (found.document["recalibrate"], drift)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(warning.startswith("drift: recalibrate") for warning in warnings) is (kind == "inverted")
    assert {f"drift: {reason}" for reason in drift["reasons"]} <= set(warnings)
    for_people = sparkq(*arguments, "--output", tmp_path / "out").out
    verdict = "none to speak of" if kind == "same" else "recalibrate"
    assert f"drift   {verdict}: {IMAGES} images, PSI of scores {drift['score_psi']:.2f}" in for_people


def test_too_few_images_for_drift(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """Neither yes nor no, and why."""
    found = sparkq(
        "predict", "--model", model, "--input", images, "--output", tmp_path / "out", "--drift-sample", "1", "--glob", "00*.png",
    )
    assert (found.code, _run_manifest(tmp_path / "out")["recalibrate"]) == (0, None)
    assert "drift   too few images to tell: 10, and 30 are needed" in found.out


@pytest.mark.parametrize("options", [["--batch-size", "auto"], ["--same-everywhere"]], ids=["each_node", "same_everywhere"])
def test_engine_auto(
    spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path, options: list[str],
) -> None:
    """What ran is counted from the rows, and the document has what it was chosen from."""
    arguments = ["--model", model, "--input", images, "--output", tmp_path / "out", "--engine", "auto", *options]
    found = sparkq("predict", *arguments, "--json")
    assert found.code == 0, found.err
    [node] = found.document["nodes"]
    measured = {one["engine"] for one in node["choice"]["measurements"]}
    assert "fbgemm" in measured and all(one["images_per_second"] > 0 for one in node["choice"]["measurements"])
    assert found.document["engine"] == {node["choice"]["engine"]: IMAGES}
    assert {row["engine"] for row in _rows(tmp_path / "out").values()} == {node["choice"]["engine"]}
    assert found.document["engine"].keys() <= measured


def test_broken_files_are_counted(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """As rows, errors and codes, also for people; exit code 4, unless so many may fail, and everything is there."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "whole.png").write_bytes((images / "000.png").read_bytes())
    (folder / "sub" / "zero.png").touch()
    (folder / "sub" / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("no image")
    found = sparkq("predict", "--model", model, "--input", folder, "--output", tmp_path / "out")
    assert found.code == 4, found.err
    for text in ("4 rows, 1 ok, 3 errors", "1 rows empty_content", "2 rows not_an_image"):
        assert text in found.out
    assert "expected at most 1 % of the images to fail; got 75 %" in found.err
    rows = _rows(tmp_path / "out")
    assert {name: row["error_code"] for name, row in rows.items()} == {
        "whole.png": None, "zero.png": "empty_content", "text.jpg": "not_an_image", "notes.txt": "not_an_image",
    }
    arguments = ["predict", "--model", model, "--input", folder, "--output", tmp_path / "png", "--glob", "*.png", "--json"]
    found = sparkq(*arguments, "--run-id", "r")
    assert (found.code, found.document["error"]["type"]) == (4, "ErrorBudgetError")
    again = sparkq(*arguments, "--run-id", "r", "--max-error-rate", "0.5")
    assert (again.code, again.document["already_committed"]) == (0, True)
    assert {key: found.document[key] for key in ("rows", "ok", "errors")} == {"rows": 2, "ok": 1, "errors": 1}
    assert found.document["error_codes"] == {"empty_content": 1}


def test_what_is_left_out_is_told(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """By reason, in the manifest and on the console."""
    (tmp_path / "in").mkdir()
    for name in ("000.png", "001.png"):
        (tmp_path / "in" / name).write_bytes((images / name).read_bytes())
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / "labels.csv").write_text("path,label")
    found = sparkq("predict", "--model", model, "--input", tmp_path / "in", "--output", tmp_path / "out", "--glob", "*.png")
    assert found.code == 0, found.err
    assert "left out 2 files of the input on purpose: 1 glob, 1 metadata" in found.out
    assert _run_manifest(tmp_path / "out")["left_out"] == {"glob": 1, "metadata": 1}


def test_table_in_table_out(spark: SparkSession, sparkq: Command, model: Path, tmp_path: Path) -> None:
    """Parquet with a binary column of any name; its other columns come through."""
    rows = [(index, bytearray(content)) for index, content in enumerate(digit_files(6))]
    spark.createDataFrame(rows, "shop_id long, jpeg binary").write.parquet(str(tmp_path / "table"))
    found = sparkq(
        "predict", "--model", model, "--input", tmp_path / "table", "--output", tmp_path / "out", "--content-column", "jpeg",
        "--engine", "fbgemm", "--batch-size", "4", "--json",
    )
    assert (found.code, found.document["rows"]) == (0, 6)
    assert sorted(row["shop_id"] for row in pq.read_table(tmp_path / "out").to_pylist()) == list(range(6))


def test_uris(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """A text file of them and a table of them; what is not there is counted by its own code, apart from bad images."""
    paths = sorted(images.iterdir())[:6]
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in [*paths, "gone.png"]))
    rows = [(f"file:{path}", str(path), path.stem) for path in paths]
    spark.createDataFrame(rows, "source string, copy string, path string").write.parquet(str(tmp_path / "table"))
    given = ("predict", "--model", model, "--input-format", "uri", "--json")
    found = sparkq(*given, "--input", tmp_path / "list.txt", "--output", tmp_path / "listed", "--max-error-rate", 0.2)
    assert (found.code, found.document["ok"], found.document["error_codes"]) == (0, 6, {"not_found": 1}), found.err
    found = sparkq(*given, "--input", tmp_path / "table", "--output", tmp_path / "tabled", "--uri-column", "source")
    assert (found.code, found.document["ok"]) == (0, 6), found.err
    listed, tabled = (pq.read_table(tmp_path / name).to_pylist() for name in ("listed", "tabled"))
    labels = {row["uri"].rpartition("/")[2]: row["label"] for row in listed if row["status"] == "ok"}
    assert labels == {f"{row['path']}.png": row["label"] for row in tabled}


def test_who_reads_makes_no_difference(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """The same rows in the same columns."""
    tables = []
    for read in ("workers", "spark"):
        output = tmp_path / read
        found = sparkq("predict", "--model", model, "--input", images, "--output", output, "--read", read)
        assert found.code == 0, found.err
        tables.append(pq.read_table(output).drop_columns("run_id").sort_by("path"))
    assert tables[0].equals(tables[1]) and tables[0].num_rows == IMAGES


def test_config_file_with_relative_paths(spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """As scheduled jobs use it; an option wins."""
    (model.parent / "photos").symlink_to(images)
    content = {"model": model.name, "input": "photos", "output": "out", "top_k": 2, "batch_size": 8}
    (model.parent / "c.yaml").write_text(yaml.safe_dump(content))
    found = sparkq("predict", "--config", model.parent / "c.yaml", "--top-k", "1", "--json")
    assert found.code == 0, found.err
    assert found.document["output"] == str(model.parent / "out")
    assert {len(row["top_k"]) for row in _rows(model.parent / "out").values()} == {1}


def _spoiled_artifact(kind: str, good: bytes, path: Path) -> None:
    """A file that is no artifact of ours any more."""
    artifact = ModelArtifact.loads(good)
    if kind == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "wrong_digest":
        path.write_bytes(replace(artifact, payload=artifact.payload[:-1] + b"?").dumps())
    elif kind == "unknown_protocol":
        with zipfile.ZipFile(path, "w") as archive:
            manifest = artifact.manifest.dumps().replace(f'"protocol": {PROTOCOL},'.encode(), b'"protocol": 99,')
            archive.writestr("manifest.json", manifest)
            archive.writestr("program.safetensors", artifact.payload)
    else:
        path.write_bytes({"no_artifact": b"PNG", "empty_file": b""}[kind])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", ("spoiled.sparkq", "expected a .sparkq artifact", "Hint: copy the file again")),
        ("unknown_protocol", ("spoiled.sparkq", f"protocol {PROTOCOL}", "99", "Hint: ")),
        ("wrong_digest", ("spoiled.sparkq", "sha256", "Hint: ")),
        ("no_artifact", ("spoiled.sparkq", "expected a .sparkq artifact")),
        ("empty_file", ("spoiled.sparkq", "0 bytes")),
    ],
)
def test_artifacts_that_cannot_be_used(
    sparkq: Command, images: Path, model: Path, kind: str, words: tuple[str, ...],
) -> None:
    """Refused before Spark is started, by every command that reads an artifact."""
    spoiled = model.with_name("spoiled.sparkq")
    _spoiled_artifact(kind, model.read_bytes(), spoiled)
    before = tree(model.parent)
    for arguments in (
        ["predict", "--input", images, "--output", model.parent / "out"],
        ["evaluate", "--input", images, "--labels", images.parent / "labels.csv"],
        ["inspect"],
    ):
        sparkq(*arguments, "--model", spoiled).assert_refused(*words)
    assert tree(model.parent) == before and not (model.parent / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "empty"], ("empty", "expected images", "Hint: ")),
        (["--input", "absent"], ("absent", "no such path", "Hint: ")),
        (["--input", "absent.parquet"], ("absent.parquet", "no such path")),
        (["--input", "photos", "--glob", "*.tiff"], ("photos", "expected images", "Hint: check the path and the glob")),
        (["--input", "text_table"], ("'content'", "binary", "string", "Hint: ")),
        (["--input", "label_table"], ("label", "Hint: rename")),
        (["--input", "photos", "--content-column", "pixels"], ("'pixels'", "content binary")),
        (["--input", "photos", "--input-format", "parquet"], ("photos", "parquet")),
        (["--input", "photos", "--input-format", "tar"], ("input_format", "images", "'tar'")),
        (["--input", "photos", "--engine", "float32"], ("float32", "fbgemm", "Hint: ")),
        (["--input", "photos", "--model", "absent.sparkq"], ("absent.sparkq", "Hint: check the path")),
        (["--input", "photos", "--config", "unknown.yaml"], ("unknown.yaml", "'batchsize'", "valid keys: model, input, output")),
        (["--input", "photos", "--top-k", "0"], ("top_k", "at least 1")),
        (["--input", "photos", "--drift-sample", "2"], ("drift_sample", "0 to 1")),
        (["--input", "photos", "--model", "float.sparkq", "--drift-sample", "1"], ("recipe none", "calibration images")),
        (["--input", "photos", "--batch-size", "most"], ("batch_size", "at least 1", "'most'")),
        (["--input", "photos", "--same-everywhere"], ("same_everywhere", "engine auto")),
        (["--input", "photos", "--read", "driver"], ("read", "workers", "'driver'")),
        (["--input", "photos", "--uri-column", "path"], ("uri_column", "input_format uri")),
        (["--input", "text_table", "--input-format", "uri", "--uri-column", "where"], ("'where'", "content string")),
        (["--input", "label_table", "--read", "workers"], ("read", "directory", "table")),
        (["--input", "nosuch://bucket/x"], ("nosuch://bucket/x", "filesystem")),
    ],
    ids=[
        "empty_folder", "missing_folder", "missing_table", "nothing_matches", "wrong_dtype", "column_clash",
        "missing_content_column", "images_as_parquet", "unknown_format", "engine_does_not_fit", "missing_model", "unknown_key",
        "zero_top_k", "drift_sample_no_share", "no_calibration_profile", "batch_size_in_words",
        "same_without_auto", "unknown_reader", "uri_column_of_images", "missing_uri_column", "workers_on_a_table",
        "unknown_filesystem",
    ],
)
def test_refused(
    spark: SparkSession, sparkq: Command, images: Path, model: Path, arguments: list[str], words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence, exit code 1, no output folder."""
    monkeypatch.chdir(model.parent)
    Path("empty").mkdir()
    Path("photos").symlink_to(images)
    Path("unknown.yaml").write_text("batchsize: 8\n")
    digits_artifact("none").save("float.sparkq")
    spark.sql("SELECT 'text' AS content").write.parquet(str(model.parent / "text_table"))
    spark.sql("SELECT CAST('bytes' AS binary) AS content, 1 AS label").write.parquet(str(model.parent / "label_table"))
    before = tree(Path())
    given = ["--model", model] if "--model" not in arguments else []
    sparkq("predict", *given, *arguments, "--output", "out").assert_refused(*words)
    assert tree(Path()) == before and not Path("out").exists()


def test_an_output_of_somebody_else_is_left_alone(
    spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path,
) -> None:
    """Also when it is to be overwritten: only runs are."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    arguments = ["predict", "--model", model, "--input", images, "--output", tmp_path / "out"]
    for options in ([], ["--overwrite"]):
        sparkq(*arguments, *options).assert_refused(str(tmp_path / "out"), "runs of sparkq", "mine.txt", "Hint: ")
    assert tree(tmp_path / "out") == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("input_path", "output"), [("in", "in"), ("in/sub", "in"), ("in", "in/sub"), ("link", "in")],
    ids=["same", "output_holds_input", "input_holds_output", "symbolic_link"],
)
def test_output_and_input_are_apart(
    spark: SparkSession, sparkq: Command, images: Path, model: Path, tmp_path: Path, input_path: str, output: str,
) -> None:
    """The next job would take the predictions for images."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a.png").write_bytes((images / "000.png").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "in")
    before = tree(tmp_path)
    paths = ["--input", tmp_path / input_path, "--output", tmp_path / output]
    sparkq("predict", "--model", model, *paths).assert_refused("apart from the input", "Hint: ")
    assert tree(tmp_path) == before


@pytest.mark.jvm
def test_engine_error_on_a_worker(sparkq_process: Command, images: Path, model: Path, tmp_path: Path) -> None:
    """A machine that computes wrong results: one sentence, one document, 1, no folder, no pages of Java."""
    artifact = digits_artifact()
    golden = replace(artifact.manifest.golden, output=-artifact.manifest.golden.output)
    falsified = replace(artifact, manifest=replace(artifact.manifest, golden=golden))
    falsified.save(str(model))
    # One image is one task: when a failed task stops others, pyspark's daemon may print a traceback of its own.
    paths = ["--input", images / "000.png", "--output", tmp_path / "out"]
    found = sparkq_process("predict", "--model", model, *paths, "--master", "local[1]", "--json")
    error = found.document["error"]
    assert (found.code, error["type"]) == (1, "EngineError")
    assert "golden output" in error["message"] and "\n" not in error["message"]
    assert f"sparkq: error: {error['message']}\nHint: {error['hint']}\n" in found.err
    assert TRACEBACK not in found.err and "\tat org.apache" not in found.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [[], ["--quiet"]], ids=["bar", "quiet"])
def test_progress_bar(
    spark: SparkSession, model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str],
) -> None:
    """In a terminal, where Spark has no bar of its own, and nowhere with ``--quiet``."""
    far, near = os.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    shown: list[bytes] = []

    def read() -> None:
        # The terminal's other end is closed with it, which is an error by the book.
        with contextlib.suppress(OSError):
            while part := os.read(far, 4096):
                shown.append(part)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with open(near, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        code = main(["predict", "--model", str(model), "--input", str(images), "--output", str(tmp_path / "out"), *options])
    reader.join(30)
    os.close(far)
    text = b"".join(shown).decode()
    assert code == 0 and f"{IMAGES} rows, {IMAGES} ok" in text
    assert (f"{IMAGES}/{IMAGES}" in text and "images/s" in text) == (not options)


def test_one_label_for_all(spark: SparkSession, sparkq: Command, images: Path, tmp_path: Path) -> None:
    """Predict, the manifest, the report and evaluate say so of a float artifact; its command prints it, too."""
    one_label_artifact().save(str(tmp_path / "broken.sparkq"))
    arguments = ["--model", tmp_path / "broken.sparkq", "--input", images, "--output", tmp_path / "out"]
    found = sparkq("predict", *arguments, "--run-id", "one")
    said = f"the model gives all {IMAGES} images the same label (9), although it tells 10 apart"
    assert found.code == 0 and f"warning {said}" in found.out
    [warning] = json.loads((tmp_path / "out" / "_sparkq" / "one.json").read_text())["warnings"]
    assert warning.startswith(said)
    reported = sparkq("report", tmp_path / "out", "--output", tmp_path / "report.html")
    assert reported.code == 0 and f"warning {said}" in reported.out
    assert f"Warning: {said}" in (tmp_path / "report.html").read_text()
    evaluated = sparkq("evaluate", *arguments[:4], "--labels", images.parent / "labels.csv")
    assert evaluated.code == 0 and "do not belong together" in evaluated.out and "gives all" in evaluated.out
