"""Every command with its model, its input and its output on ``s3a://``."""
from __future__ import annotations

import pytest

from tests.local_s3 import BUCKET
from tests.spark.s3a.conftest import IMAGES, MODEL, PHOTOS
from tests.spark.s3a.local_s3a import S3ASession

pytestmark = [pytest.mark.jvm, pytest.mark.s3a]


def test_predict(s3a: S3ASession) -> None:
    output = f"s3a://{BUCKET}/predict"
    found = s3a.sparkq("predict", "--model", MODEL, "--input", PHOTOS, "--output", output, "--json")
    assert found.code == 0, found.err
    assert (found.document["rows"], found.document["ok"]) == (IMAGES, IMAGES)
    rows = s3a.predictions(output)
    print(rows[0], found.err)
    assert sorted(row["path"] for row in rows) == [f"{PHOTOS}/{number:02d}.png" for number in range(IMAGES)]
