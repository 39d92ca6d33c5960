"""Models on their way in the oldest Spark that is supported: what sparkq asks of pyspark's own broadcasts is there, too."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pyspark
import pytest

from sparkq.artifact.file import ModelArtifact
from tests import HANG_SECONDS, ROOT
from tests.java_start import clean_environment
from tests.models import digits_artifact
from tests.spark.s3a.local_s3a import PYTHON

pytestmark = pytest.mark.s3a
READ = """
import sys
import pyspark
from sparkq.artifact.file import ModelArtifact
from sparkq.spark.cluster.shipping import ship_model
from sparkq.spark.session.session import session_for

def read(rows):
    return [(shipped.artifact().digest, "_value" in vars(shipped.sent)) for _ in range(2)]

with session_for("local[1]") as spark:
    shipped = ship_model(spark.sparkContext, ModelArtifact.load(sys.argv[1]), None)
    print(pyspark.__version__, spark.sparkContext.parallelize([0], 1).mapPartitions(read).collect())
"""


def test_a_worker_keeps_no_copy(tmp_path: Path) -> None:
    """As with the newest, of which `tests/spark/cluster/test_shipping.py` tells; the artifact can be read again."""
    artifact = digits_artifact()
    artifact.save(str(tmp_path / "m.sparkq"))
    done = subprocess.run(
        [PYTHON, "-c", READ, str(tmp_path / "m.sparkq")], env=clean_environment() | {"SPARK_LOCAL_IP": "127.0.0.1"}, cwd=ROOT,
        capture_output=True, text=True, timeout=HANG_SECONDS, check=True,
    )
    version, _, found = done.stdout.strip().splitlines()[-1].partition(" ")
    assert version.startswith("3.5.") and not pyspark.__version__.startswith("3.")
    assert found == str([(ModelArtifact.load(str(tmp_path / "m.sparkq")).digest, False)] * 2)
