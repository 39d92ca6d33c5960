"""Makes the golden run: what ``sparkq predict`` commits for a table of 34 images, two of them broken.

Run it once when a protocol of the run manifest lands, from the root of the project, and commit what it writes::

    python -m tests.runs.golden.make tests/runs/golden

Files that are there are left as they are: they are what a reader must go on reading. ``without_protocol.json`` is the manifest
that the last commit before protocol 1 wrote for the same job.
"""
from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

import sparkq
from sparkq.runs.manifest import PROTOCOL
from tests.models import digit_files

MODEL = "tests/artifact/golden/classification_protocol4.sparkq"
IMAGES, RUN_ID = "images.parquet", "golden"
BROKEN = (b"", b"no image")


def images() -> pa.Table:
    """The columns that resume knows an image by, and its bytes; no image is a file anywhere."""
    contents = [*digit_files(32), *BROKEN]
    when = datetime.datetime(2026, 11, 1, tzinfo=datetime.timezone.utc)
    return pa.table({
        "path": [f"lake/photos/{number:02d}.png" for number in range(len(contents))],
        "length": pa.array([len(content) for content in contents], pa.int64()),
        "modificationTime": pa.array([when] * len(contents), pa.timestamp("us", "UTC")),
        "content": pa.array(contents, pa.binary()),
    })


def main(folder: Path) -> None:
    """Write what is not there yet."""
    if not (folder / IMAGES).exists():
        pq.write_table(images(), folder / IMAGES)
    output = folder / f"protocol{PROTOCOL}"
    if not output.exists():
        os.environ["PYSPARK_PYTHON"] = sys.executable
        spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
        job = sparkq.PredictionJob(
            model=MODEL, input=str(folder / IMAGES), output=str(output), run_id=RUN_ID, drift_sample=1, max_error_rate=0.1,
        )
        sparkq.run_prediction_job(spark, job)
        spark.stop()
        for checksum in output.rglob(".*.crc"):
            checksum.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
