"""One server and one session on it, with a model and images in a bucket."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local_s3 import BUCKET, LocalS3, local_s3
from tests.models import digit_files, digits_artifact
from tests.spark.s3a.local_s3a import S3ASession, s3a_session

IMAGES = 12
MODEL = f"s3a://{BUCKET}/models/digits.sparkq"
PHOTOS = f"s3a://{BUCKET}/photos"


@pytest.fixture(scope="session")
def server() -> Iterator[LocalS3]:
    """A model, and scans as ``photos/00.png`` and so on; tests write beside them only."""
    with local_s3() as server:
        server.client.put_object(Bucket=BUCKET, Key="models/digits.sparkq", Body=digits_artifact().dumps())
        for number, content in enumerate(digit_files(IMAGES)):
            server.client.put_object(Bucket=BUCKET, Key=f"photos/{number:02d}.png", Body=content)
        yield server


@pytest.fixture(scope="session")
def s3a(server: LocalS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3ASession]:
    """The session; what a test leaves in the bucket is its own, by its name."""
    with s3a_session(server, tmp_path_factory.mktemp("s3a")) as session:
        yield session
