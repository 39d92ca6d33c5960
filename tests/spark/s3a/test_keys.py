"""Keys that are no plain file names: of images, of models, of outputs, of partitions."""
from __future__ import annotations

import dataclasses
import html
import io
import unicodedata
from typing import Any

import pyarrow.parquet as pq
import pytest

from sparkq.storage import read_file, write_file
from tests.local_s3 import BUCKET, LocalS3
from tests.models import digit_files, digits_artifact
from tests.spark.local import local_row
from tests.spark.s3a.conftest import IMAGES, MODEL, PHOTOS, put_scans
from tests.spark.s3a.local_s3a import S3ASession

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]
ODD = {
    "space": "a b", "plus": "a+b", "percent": "100%", "percent_encoded": "a%20b", "equals": "a=b", "number_sign": "a#b",
    "question_mark": "q?a=b", "bare_question_mark": "who?", "ampersand": "a&b", "colon": "12:30",
    "NFC": unicodedata.normalize("NFC", "café"), "NFD": unicodedata.normalize("NFD", "café"), "emoji": "\U0001f600",
    "brackets": "[a]", "braces": "{a,b}", "star": "a*", "apostrophe": "it's", "at": "a@b", "all": "a b+%=#?&:é\U0001f600",
}
LABELS = (
    "a b", "a+b", "a%20b", "a=b", "a#b", "q?a=b", "12:30", unicodedata.normalize("NFD", "café"), "a/b", "a b+%=#?&:é\U0001f600",
)
FOLDER = "keys"
odd_names = pytest.mark.parametrize("name", ODD.values(), ids=ODD.keys())


@pytest.fixture(scope="module", params=["workers", "spark"])
def rows(request: pytest.FixtureRequest, s3a: S3ASession, server: LocalS3) -> dict[str, list[dict[str, Any]]]:
    """Key to rows, of one run over images of all those names, read by the one and by the other."""
    folder, output = f"{FOLDER}/{request.param}", f"s3a://{BUCKET}/{FOLDER}/out-{request.param}"
    put_scans(server, f"{folder}/", [f"{name}.png" for name in ODD.values()])
    found = s3a.sparkq(
        "predict", "--model", MODEL, "--input", f"s3a://{BUCKET}/{folder}", "--output", output, "--max-error-rate", "1",
        "--read", request.param,
    )
    assert found.code == 0, found.err
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in s3a.predictions(output):
        by_key.setdefault(row["path"].removeprefix(f"s3a://{BUCKET}/{folder}/"), []).append(row)
    return by_key


@odd_names
def test_an_image(rows: dict[str, list[dict[str, Any]]], name: str) -> None:
    """One row, its path as the key is, its prediction that of the bytes."""
    [row] = rows[f"{name}.png"]
    content = digit_files(len(ODD))[list(ODD.values()).index(name)]
    assert (row["status"], row.get("label_name")) == ("ok", local_row(digits_artifact(), content)["label_name"]), row


@odd_names
def test_a_model(s3a: S3ASession, server: LocalS3, name: str) -> None:
    """An artifact is written there, and a command reads it."""
    uri = f"s3a://{BUCKET}/{FOLDER}/models/{name}.sparkq"
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in server.environment().items():
            patch.setenv(variable, value)
        write_file(uri, digits_artifact().dumps(), what="artifact")
        assert read_file(uri, what="artifact") == digits_artifact().dumps()
    assert server.objects()[f"{FOLDER}/models/{name}.sparkq"] == digits_artifact().dumps()
    found = s3a.sparkq("inspect", "--model", uri, "--json")
    assert found.code == 0, found.err


@pytest.fixture(scope="module")
def labelled(s3a: S3ASession, server: LocalS3) -> str:
    """An output with a scan of each class, in a folder by its name; the names are odd."""
    artifact = digits_artifact()
    renamed = dataclasses.replace(artifact, manifest=dataclasses.replace(artifact.manifest, labels=LABELS))
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/labelled.sparkq", Body=renamed.dumps())
    scans = {local_row(artifact, content)["label"]: content for content in digit_files(60)}
    assert len(scans) == len(LABELS)
    for label, content in scans.items():
        server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/scans/{label}.png", Body=content)
    output = f"s3a://{BUCKET}/{FOLDER}/labelled"
    found = s3a.sparkq(
        "predict", "--model", f"s3a://{BUCKET}/{FOLDER}/labelled.sparkq", "--input", f"s3a://{BUCKET}/{FOLDER}/scans",
        "--output", output, "--partition-by", "label_name",
    )
    assert found.code == 0, found.err
    return output


def test_partitions_by_odd_labels(s3a: S3ASession, labelled: str) -> None:
    """Every label comes back as it was."""
    found = {row["path"].rpartition("/")[2]: row["label_name"] for row in s3a.predictions(labelled)}
    assert found == {f"{label}.png": name for label, name in enumerate(LABELS)}


def test_report_on_odd_labels(s3a: S3ASession, server: LocalS3, labelled: str) -> None:
    """By another reader of the same folders."""
    found = s3a.sparkq("report", labelled, "--output", f"{labelled}.html", "--no-images")
    assert found.code == 0, found.err
    page = html.unescape(server.objects()[f"{FOLDER}/labelled.html"].decode())
    assert [name for name in LABELS if name not in page] == []


@pytest.fixture(scope="module")
def plain(s3a: S3ASession, server: LocalS3) -> dict[str, bytes]:
    """An output with a plain name, whose manifest does not say where it is: key there to bytes."""
    found = s3a.sparkq("predict", "--model", MODEL, "--input", PHOTOS, "--output", f"s3a://{BUCKET}/{FOLDER}/plain")
    assert found.code == 0, found.err
    prefix = f"{FOLDER}/plain/"
    return {key.removeprefix(prefix): data for key, data in server.objects().items() if key.startswith(prefix)}


def copied(server: LocalS3, plain: dict[str, bytes], name: str) -> str:
    """The same output in a folder of that name."""
    for key, data in plain.items():
        server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/copies/{name}/{key}", Body=data)
    return f"s3a://{BUCKET}/{FOLDER}/copies/{name}"


@odd_names
def test_reading_an_output(s3a: S3ASession, server: LocalS3, plain: dict[str, bytes], name: str) -> None:
    """By Spark."""
    assert len(s3a.predictions(copied(server, plain, name))) == IMAGES


@odd_names
def test_report_of_an_output(s3a: S3ASession, server: LocalS3, plain: dict[str, bytes], name: str) -> None:
    """Without Spark, and the page to such a name."""
    page = f"{FOLDER}/pages/{name}.html"
    found = s3a.sparkq("report", copied(server, plain, name), "--output", f"s3a://{BUCKET}/{page}", "--no-images")
    assert found.code == 0, found.err
    assert b"Prediction run" in server.objects()[page]


def test_writing_an_output(s3a: S3ASession, server: LocalS3) -> None:
    """Input, output and quarantine of that name at once."""
    name = ODD["all"]
    put_scans(server, f"{FOLDER}/{name}/in/", ["a.png", "b.png"])
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/{name}/in/none.png", Body=b"none")
    place = f"s3a://{BUCKET}/{FOLDER}/{name}"
    found = s3a.sparkq(
        "predict", "--model", MODEL, "--input", f"{place}/in", "--output", f"{place}/out", "--quarantine", f"{place}/failed",
        "--quarantine-bytes", "--max-error-rate", "1", "--json",
    )
    assert found.code == 0, found.err
    objects = server.objects()
    assert {f"{FOLDER}/{name}/out/{entry['path']}" for entry in found.document["files"]} <= objects.keys()
    assert {row["path"]: row["status"] for row in s3a.predictions(f"{place}/out")} == {
        f"{place}/in/a.png": "ok", f"{place}/in/b.png": "ok", f"{place}/in/none.png": "error",
    }
    [key] = [key for key in objects if key.startswith(f"{FOLDER}/{name}/failed/") and key.endswith(".parquet")]
    [row] = pq.read_table(io.BytesIO(objects[key])).to_pylist()
    assert (row["path"], row["content"]) == (f"{place}/in/none.png", b"none")
