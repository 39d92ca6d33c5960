"""One server and one session on it, with a model and images in a bucket."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.disturbed_s3 import DisturbedS3, disturbed_s3
from tests.local_s3 import BUCKET, LocalS3, local_s3
from tests.models import digit_files, digits_artifact
from tests.spark.s3a.local_s3a import S3ASession, s3a_session

IMAGES = 8
DISTURBED = "disturbed"
MODEL = f"s3a://{BUCKET}/models/digits.sparkq"
PHOTOS = f"s3a://{BUCKET}/photos"


def put_scans(server: LocalS3, folder: str, names: list[str], *, bucket: str = BUCKET) -> None:
    """Real scans as objects of these names; a bucket that is not there is made."""
    if bucket != BUCKET:
        server.client.create_bucket(Bucket=bucket)
    for name, content in zip(names, digit_files(len(names)), strict=True):
        server.client.put_object(Bucket=bucket, Key=f"{folder}{name}", Body=content)


@pytest.fixture(scope="session")
def server() -> Iterator[LocalS3]:
    """A model, and scans as ``photos/0.png`` and so on; tests write beside them only."""
    with local_s3() as server:
        server.client.put_object(Bucket=BUCKET, Key="models/digits.sparkq", Body=digits_artifact().dumps())
        put_scans(server, "photos/", [f"{number}.png" for number in range(IMAGES)])
        yield server


@pytest.fixture(scope="session")
def proxy(server: LocalS3) -> Iterator[DisturbedS3]:
    """The same server, with whatever a test lets go wrong."""
    server.client.create_bucket(Bucket=DISTURBED)
    with disturbed_s3(server) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def s3a(server: LocalS3, proxy: DisturbedS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3ASession]:
    """The session; what a test leaves in the bucket is its own, by its name. It sees one bucket through the proxy."""
    settings = {f"fs.s3a.bucket.{DISTURBED}.endpoint": f"http://{proxy.s3.host}:{proxy.s3.port}"}
    with s3a_session(server, tmp_path_factory.mktemp("s3a"), settings) as session:
        yield session
