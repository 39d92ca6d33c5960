"""``s3://`` and ``s3a://`` are one place, and a whole bucket is a place."""
from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.local_s3 import BUCKET, LocalS3
from tests.spark.s3a.conftest import IMAGES, MODEL, PHOTOS, put_scans
from tests.spark.s3a.local_s3a import S3ASession

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]
FOLDER = "places"
INPUT, OUTPUT = f"{BUCKET}/{FOLDER}/photos", f"{BUCKET}/{FOLDER}/out"
ON_EMR = {"EMR_RELEASE_LABEL": "emr-7.12.0"}
"""There Spark itself reads ``s3://``, so that its rows have it."""


@pytest.fixture(scope="module")
def first(s3a: S3ASession, server: LocalS3) -> dict[str, bytes]:
    """The output of a run that names everything ``s3a://``: key there to bytes."""
    put_scans(server, f"{FOLDER}/photos/", [f"{number}.png" for number in range(IMAGES)])
    server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/photos/broken.png", Body=b"none")
    found = s3a.sparkq(
        "predict", "--model", MODEL, "--input", f"s3a://{INPUT}", "--output", f"s3a://{OUTPUT}", "--run-id", "first",
        "--max-error-rate", "1",
    )
    assert found.code == 0, found.err
    prefix = f"{FOLDER}/out/"
    return {key.removeprefix(prefix): data for key, data in server.objects().items() if key.startswith(prefix)}


def copied(server: LocalS3, first: dict[str, bytes], name: str) -> str:
    """The same output again, so that tests do not meet."""
    for key, data in first.items():
        server.client.put_object(Bucket=BUCKET, Key=f"{FOLDER}/{name}/{key}", Body=data)
    return f"s3://{BUCKET}/{FOLDER}/{name}"


@pytest.fixture(scope="module")
def second(s3a: S3ASession, server: LocalS3, first: dict[str, bytes]) -> tuple[str, dict[str, Any]]:
    """An output with a second run of the same images, which names everything ``s3://``; a bucket is its quarantine."""
    server.client.create_bucket(Bucket="quarantine")
    output = copied(server, first, "second")
    found = s3a.sparkq(
        "predict", "--model", MODEL.replace("s3a:", "s3:"), "--input", f"s3://{INPUT}", "--output", output, "--run-id", "second",
        "--quarantine", "s3://quarantine", "--quarantine-bytes", "--max-error-rate", "1", "--json", variables=ON_EMR,
    )
    assert found.code == 0, found.err
    return output, found.document


def test_all_by_the_other_name(s3a: S3ASession, server: LocalS3, second: tuple[str, dict[str, Any]]) -> None:
    """Rows keep the path as Spark gave it; the quarantine has the bytes."""
    output, document = second
    assert (document["rows"], document["ok"]) == (IMAGES + 1, IMAGES)
    rows = s3a.predictions(output, run_id="second", variables=ON_EMR)
    assert {row["path"] for row in rows} == {
        f"s3://{INPUT}/broken.png", *(f"s3://{INPUT}/{number}.png" for number in range(IMAGES)),
    }
    keys = [entry["Key"] for entry in server.client.list_objects_v2(Bucket="quarantine")["Contents"]]
    [key] = [key for key in keys if key.startswith("run_id=second/") and key.endswith(".parquet")]
    [row] = pq.read_table(io.BytesIO(server.client.get_object(Bucket="quarantine", Key=key)["Body"].read())).to_pylist()
    assert (row["path"], row["content"]) == (f"s3://{INPUT}/broken.png", b"none")


def test_newest_row_of_an_image(s3a: S3ASession, second: tuple[str, dict[str, Any]]) -> None:
    """Two runs by two names are of the same images."""
    assert Counter(row["run_id"] for row in s3a.predictions(second[0])) == {"second": IMAGES + 1}


def test_resume(s3a: S3ASession, server: LocalS3, first: dict[str, bytes]) -> None:
    """What was predicted by the one name is not by the other."""
    found = s3a.sparkq(
        "predict", "--model", MODEL, "--input", f"s3://{INPUT}", "--output", copied(server, first, "resumed"), "--resume",
        "--max-error-rate", "1", "--json", variables=ON_EMR,
    )
    assert found.code == 0, found.err
    assert (found.document["rows"], found.document["skipped"]) == (0, IMAGES + 1)


def test_report(s3a: S3ASession, server: LocalS3, second: tuple[str, dict[str, Any]]) -> None:
    """With pictures of images by that name."""
    found = s3a.sparkq("report", second[0], "--output", f"s3://{BUCKET}/{FOLDER}/report.html", variables=ON_EMR)
    assert found.code == 0, found.err
    assert server.objects()[f"{FOLDER}/report.html"].count(b"<img ") >= IMAGES


@pytest.fixture(scope="module")
def bucket(server: LocalS3) -> str:
    """Two scans, one of them in a folder."""
    put_scans(server, "", ["a.png", "in/b.png"], bucket="whole")
    return "whole"


@pytest.mark.parametrize("uri", ["s3a://{}", "s3a://{}/", "s3://{}", "s3://{}/"])
@pytest.mark.parametrize("variables", [{}, ON_EMR], ids=["spark", "emr"])
def test_a_bucket_as_input(s3a: S3ASession, bucket: str, uri: str, variables: dict[str, str]) -> None:
    """Both scans are listed."""
    found = s3a.sparkq("plan", "--model", MODEL, "--input", uri.format(bucket), "--json", variables=variables)
    assert found.code == 0, found.err
    assert found.document["images"] == 2


@pytest.mark.parametrize("uri", ["s3a://{}", "s3a://{}/"])
def test_a_bucket_as_output(s3a: S3ASession, server: LocalS3, uri: str) -> None:
    """A run is written to it, and read back by Spark and by the report."""
    name = f"output{uri.count('/')}"
    server.client.create_bucket(Bucket=name)
    output = uri.format(name)
    found = s3a.sparkq("predict", "--model", MODEL, "--input", PHOTOS, "--output", output, "--json")
    assert found.code == 0, found.err
    keys = {entry["Key"] for entry in server.client.list_objects_v2(Bucket=name)["Contents"]}
    assert {key for key in keys if not key.endswith("/")} == {
        f"_sparkq/{found.document['run_id']}.json", *(entry["path"] for entry in found.document["files"]),
    }
    assert len(s3a.predictions(output)) == IMAGES
    page = s3a.sparkq("report", output, "--output", f"s3a://{BUCKET}/{FOLDER}/{name}.html", "--no-images")
    assert page.code == 0, page.err


@pytest.mark.parametrize("option", ["--input", "--output"])
def test_a_bucket_that_is_not_there(s3a: S3ASession, option: str) -> None:
    """One sentence that names it."""
    places = {"--input": PHOTOS, "--output": f"s3a://{BUCKET}/{FOLDER}/nowhere"} | {option: "s3a://no-such-bucket/x"}
    arguments = [part for pair in places.items() for part in pair]
    s3a.sparkq("predict", "--model", MODEL, *arguments).assert_refused("s3a://no-such-bucket/x")
