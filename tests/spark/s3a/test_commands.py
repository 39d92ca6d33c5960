"""Every command with its model, its input and its output in an object store, by Hadoop's real S3A client."""
from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from sparkq.artifact.file import ModelArtifact
from tests.local_s3 import BUCKET, LocalS3
from tests.models import digit_files, digits_artifact, digits_net
from tests.spark.local import local_row
from tests.spark.s3a.conftest import IMAGES, MODEL, PHOTOS, put_scans
from tests.spark.s3a.local_s3a import S3ASession

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]
NETS = "from sparkq.demo.digits import DigitsNet\n\ndef digits():\n    return DigitsNet()\n"
FOLDER = "commands"
INPUT, OUTPUT, QUARANTINE = (f"s3a://{BUCKET}/{FOLDER}/{name}" for name in ("photos", "out", "quarantine"))
BROKEN = b"\x89PNG, but no more"


@pytest.fixture(scope="module")
def first(s3a: S3ASession, server: LocalS3) -> dict[str, Any]:
    """A run of scans and one file that is none, in folders by label, with a quarantine."""
    put_scans(server, f"{FOLDER}/photos/", [f"{number}.png" for number in range(IMAGES)])
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/photos/broken.png", Body=BROKEN)
    found = s3a.sparkq(
        "predict", "--model", MODEL, "--input", INPUT, "--output", OUTPUT, "--run-id", "first", "--partition-by", "label_name",
        "--quarantine", QUARANTINE, "--quarantine-bytes", "--max-error-rate", "1", "--json",
    )
    assert found.code == 0, found.err
    return found.document


def keys(server: LocalS3, folder: str) -> set[str]:
    """What is below a folder of this module's, with its path in that folder."""
    prefix = f"{FOLDER}/{folder}/"
    return {key.removeprefix(prefix) for key in server.objects() if key.startswith(prefix)}


def test_predict(s3a: S3ASession, first: dict[str, Any]) -> None:
    """Each object has the row that the bytes themselves have."""
    assert (first["rows"], first["ok"], first["errors"], first["output"]) == (IMAGES + 1, IMAGES, 1, OUTPUT)
    rows = {row["path"]: row for row in s3a.predictions(OUTPUT, run_id="first")}
    assert len(rows) == IMAGES + 1
    assert rows.pop(f"{INPUT}/broken.png")["error_code"] == "not_an_image"
    expected = {f"{INPUT}/{number}.png": local_row(digits_artifact(), digit_files(IMAGES)[number]) for number in range(IMAGES)}
    assert {path: (row["label_name"], row["model_digest"]) for path, row in rows.items()} == {
        path: (row["label_name"], row["model_digest"]) for path, row in expected.items()
    }
    assert {path: row["score"] for path, row in rows.items()} == pytest.approx({
        path: row["score"] for path, row in expected.items()
    })


def test_partition_by(server: LocalS3, first: dict[str, Any]) -> None:
    """Folders by label below the run's; nothing is staged any more."""
    names = Counter(local_row(digits_artifact(), content)["label_name"] for content in digit_files(IMAGES))
    files = [entry["path"] for entry in first["files"]]
    assert {path.split("/")[1] for path in files} == {
        "label_name=__HIVE_DEFAULT_PARTITION__", *(f"label_name={name}" for name in names),
    }
    assert {key for key in keys(server, "out") if not key.endswith("/")} == {*files, "_sparkq/first.json"}
    objects = server.objects()
    assert [len(objects[f"{FOLDER}/out/{path}"]) for path in files] == [entry["bytes"] for entry in first["files"]]


def test_quarantine(server: LocalS3, first: dict[str, Any]) -> None:
    """The failed row, with the bytes that were there."""
    [name] = [key for key in keys(server, "quarantine") if key.endswith(".parquet")]
    assert name.startswith("run_id=first/")
    [row] = pq.read_table(io.BytesIO(server.objects()[f"{FOLDER}/quarantine/{name}"])).to_pylist()
    assert (row["path"], row["error_code"], row["content"]) == (f"{INPUT}/broken.png", "not_an_image", BROKEN)


def test_report(s3a: S3ASession, server: LocalS3, first: dict[str, Any]) -> None:
    """A page, with pictures that are opened where they lie."""
    found = s3a.sparkq("report", OUTPUT, "--output", f"s3a://{BUCKET}/{FOLDER}/pages/report.html", "--json")
    assert found.code == 0, found.err
    page = server.objects()[f"{FOLDER}/pages/report.html"].decode()
    assert "Prediction run first" in page and page.count("<img ") >= IMAGES


def test_plan(s3a: S3ASession) -> None:
    """From the listing alone."""
    found = s3a.sparkq("plan", "--model", MODEL, "--input", PHOTOS, "--json")
    assert found.code == 0, found.err
    sizes = [len(content) for content in digit_files(IMAGES)]
    assert (found.document["images"], found.document["bytes"], found.document["largest_bytes"]) == (
        IMAGES, sum(sizes), max(sizes),
    )


def test_resume_then_overwrite(s3a: S3ASession, server: LocalS3, first: dict[str, Any]) -> None:
    """What is new is predicted, Spark reading it this time; then one run replaces both."""
    put_scans(server, f"{FOLDER}/photos/later/", ["new.png"])
    arguments = ["predict", "--model", MODEL, "--input", INPUT, "--output", OUTPUT, "--max-error-rate", "1", "--json"]
    found = s3a.sparkq(*arguments, "--resume", "--run-id", "second", "--read", "spark")
    assert found.code == 0, found.err
    assert (found.document["rows"], found.document["skipped"]) == (1, IMAGES + 1)
    rows = s3a.predictions(OUTPUT)
    assert Counter(row["run_id"] for row in rows) == {"first": IMAGES + 1, "second": 1}
    assert {row["path"] for row in rows if row["run_id"] == "second"} == {f"{INPUT}/later/new.png"}
    again = s3a.sparkq(*arguments, "--run-id", "second")
    assert again.code == 0 and again.document["already_committed"], again.err
    found = s3a.sparkq(*arguments, "--overwrite", "--run-id", "third")
    assert found.code == 0, found.err
    assert Counter(row["run_id"] for row in s3a.predictions(OUTPUT)) == {"third": IMAGES + 2}
    assert {key for key in keys(server, "out") if not key.endswith("/")} == {
        "_sparkq/third.json", *(entry["path"] for entry in found.document["files"]),
    }


def test_quantize(s3a: S3ASession, server: LocalS3, tmp_path: Path) -> None:
    """Weights, class names and calibration images from there; artifact and page to there."""
    (tmp_path / "nets.py").write_text(NETS)
    weights = io.BytesIO()
    torch.save(digits_net().state_dict(), weights)
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/weights.pt", Body=weights.getvalue())
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/labels.txt", Body="\n".join(map(str, range(10))).encode())
    place = f"s3a://{BUCKET}/{FOLDER}"
    found = s3a.sparkq(
        "quantize", "--model", f"{tmp_path}/nets.py:digits", "--weights", f"{place}/weights.pt",
        "--labels", f"{place}/labels.txt", "--preprocess-resize-mode", "squash", "--preprocess-resize-size", "32",
        "--preprocess-mean", "0.5", "--preprocess-std", "0.25",
        "--calibration-input", PHOTOS, "--output", f"{place}/made.sparkq", "--report", f"{place}/pages/quantized.html", "--json",
    )
    assert found.code == 0, found.err
    objects = server.objects()
    artifact = ModelArtifact.loads(objects[f"{FOLDER}/made.sparkq"])
    assert (artifact.digest, artifact.manifest.labels) == (found.document["model_digest"], tuple(map(str, range(10))))
    assert local_row(artifact, digit_files(1)[0])["label_name"] == str(local_row(digits_artifact(), digit_files(1)[0])["label"])
    assert b"made.sparkq" in objects[f"{FOLDER}/pages/quantized.html"]
