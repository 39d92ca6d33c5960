"""Object storage as it is: 50 ms a request, some refused, some reset. Every object is right, or an error of its own."""
from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pytest

import sparkq.images.read
from sparkq.artifact.file import ModelArtifact
from sparkq.config import InferenceConfig
from sparkq.errors import ImageError
from sparkq.images.read import ReadObject, read_object, read_objects
from sparkq.worker.predict import predict_partition
from sparkq.worker.predictor import Predictor
from tests.disturbed_s3 import DisturbedS3, disturbed_s3
from tests.local_s3 import BUCKET, LocalS3, local_s3
from tests.models import digit_files, digits_artifact

FILES = 40
QUICK: ReadObject = partial(read_object, attempts=4, first_wait_seconds=0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalS3]:
    """Scans by number, and one whose name is not plain."""
    with local_s3() as server:
        for number, content in enumerate(digit_files(FILES)):
            server.client.put_object(Bucket=BUCKET, Key=f"scans/{number:02d}.png", Body=content)
        server.client.put_object(Bucket=BUCKET, Key="odd names/100%+ä.png", Body=digit_files(1)[0])
        yield server


@pytest.fixture
def store(server: LocalS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[DisturbedS3]:
    """The server behind its proxy, as the environment's endpoint; nothing opened before is used."""
    with disturbed_s3(server) as store:
        for name, value in store.s3.environment().items():
            monkeypatch.setenv(name, value)
        sparkq.images.read._filesystem.cache_clear()
        yield store
        sparkq.images.read._filesystem.cache_clear()


def _uris() -> list[str]:
    return [f"s3a://{BUCKET}/scans/{number:02d}.png" for number in range(FILES)]


def _read(uris: list[str]) -> list[bytes | ImageError]:
    return list(read_objects(uris, max_bytes=10**6, read=QUICK))


def test_latency_hides_behind_other_reads(store: DisturbedS3) -> None:
    """Two requests of 50 ms an object, many of them at once; all bytes are right."""
    store.disturbances.delay_seconds = 0.05
    assert _read(_uris()) == list(digit_files(FILES))
    assert 8 < store.disturbances.most_at_once <= 30


@pytest.mark.parametrize("kind", ["refusals", "resets"])
def test_what_passes_is_tried_again(store: DisturbedS3, kind: str) -> None:
    """Every second object fails twice, at different requests, and nobody sees it."""
    getattr(store.disturbances, kind).update({f"{number:02d}.png": 2.0 for number in range(0, FILES, 2)})
    assert _read(_uris()) == list(digit_files(FILES))
    assert store.disturbances.requests["00.png"] > store.disturbances.requests["01.png"]


def test_what_stays_is_an_error_of_its_own(store: DisturbedS3) -> None:
    """503 for ever, tried as often as said; and an object that is not there, which is not tried again."""
    store.disturbances.refusals["03.png"] = math.inf
    uris = [*_uris()[:6], f"s3://{BUCKET}/scans/none.png", "s3://no-such-bucket/x.png"]
    found = _read(uris)
    assert [one.code if isinstance(one, ImageError) else "ok" for one in found] == [
        "ok", "ok", "ok", "read_failed", "ok", "ok", "not_found", "not_found",
    ]
    assert "503" in str(found[3]) and "4 attempts" in str(found[3])
    assert store.disturbances.requests["03.png"] == 4
    assert store.disturbances.requests["none.png"] <= 2


def test_names_are_literal(store: DisturbedS3) -> None:
    """As Spark lists them, and with options in the uri, too."""
    for uri in (f"s3a://{BUCKET}/odd names/100%+ä.png", store.s3.uri("odd names/100%+ä.png")):
        assert read_object(uri) == digit_files(1)[0]


def test_a_bucket_is_opened_once(store: DisturbedS3) -> None:
    """Not once an object: that alone would be a request more."""
    _read(_uris())
    assert sparkq.images.read._filesystem.cache_info().misses <= FILES
    assert sparkq.images.read._filesystem.cache_info().currsize == 1


def test_rows_of_a_job_over_a_bad_network(store: DisturbedS3) -> None:
    """Artifact and images from S3; each row as of the bytes themselves, but for the one that cannot be read."""
    store.s3.client.put_object(Bucket=BUCKET, Key="models/digits.sparkq", Body=digits_artifact().dumps())
    artifact = ModelArtifact.load(f"s3://{BUCKET}/models/digits.sparkq")
    predictor = Predictor(artifact)
    store.disturbances.delay_seconds = 0.02
    store.disturbances.refusals.update({"05.png": 2.0, "11.png": math.inf})
    batch = pa.record_batch({"n": pa.array(range(FILES)), "uri": pa.array(_uris())})
    rows = [row for part in predict_partition(
        iter([batch]), predictor=lambda: predictor, image_column="uri", config=InferenceConfig(uri_column="uri"), read=QUICK,
    ) for row in part.to_pylist()]
    contents = pa.record_batch({"n": pa.array(range(FILES)), "content": pa.array(digit_files(FILES))})
    expected = [row for part in predict_partition(
        iter([contents]), predictor=lambda: predictor, image_column="content", config=InferenceConfig(),
    ) for row in part.to_pylist()]
    assert [row.pop("uri") for row in rows] == _uris()
    failed = rows.pop(11)
    assert (failed["status"], failed["error_code"]) == ("error", "read_failed")
    assert rows == [row for row in expected if row["n"] != 11]
