"""Whatever files are called, whatever is deleted meanwhile and whenever a job is killed: after a resume, each file is one row."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

import sparkq
from sparkq.config import PredictionJob
from sparkq.spark.session.hadoop import HadoopFolder
from sparkq.storage import canonical_path
from sparkq.workflows import predict as workflow
from tests.models import digit_files, digits_artifact

# Names that cameras, people and other programs give, and any others; only checksums of Hadoop's are left out on purpose.
_PLAIN = st.sampled_from([
    "_DSC01.JPG", ".hidden.png", "a b.png", "a%20b.png", "q?x=1&y.png", "#1+.png", "ü.png", "u\u0308.png", "🙂", "x._COPYING_",
])
_ANY = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6)
NAMES = (_PLAIN | _ANY).filter(lambda name: name not in (".", "..") and not name.endswith(".crc"))
TREES = st.dictionaries(NAMES, st.sets(NAMES, min_size=1, max_size=3), min_size=1, max_size=3)
_CHANGES = ("write", "write_if_absent", "move_folder", "move_file", "delete", "delete_if_empty")


class Killed(BaseException):
    """No code of the job's runs after it, as after a SIGKILL."""


@contextmanager
def killed_before(change: int) -> Iterator[None]:
    """End the job before its `change`-th change of the output, cleaning up included."""
    patch, left = pytest.MonkeyPatch(), [change]

    def fatal(original: Any) -> Any:
        def method(self: HadoopFolder, *arguments: Any) -> Any:
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return original(self, *arguments)

        return method

    for name in _CHANGES:
        patch.setattr(HadoopFolder, name, fatal(getattr(HadoopFolder, name)))
    try:
        yield
    except Killed:
        pass
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained artifact."""
    path = tmp_path_factory.mktemp("model") / "digits.sparkq"
    digits_artifact().save(str(path))
    return str(path)


def _paths(root: Path) -> set[str]:
    return {canonical_path(f"file:{Path(folder) / name}") for folder, _, names in os.walk(root) for name in names}


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate))
@given(tree=TREES, deleted=st.integers(0, 3), kill=st.none() | st.integers(0, 8), read=st.sampled_from(["workers", "spark"]))
def test_rows_are_files(
    spark: SparkSession, model: str, tree: dict[str, set[str]], deleted: int, kill: int | None, read: str,
) -> None:
    """One job that may be killed while files go, then one that resumes: every listed file has a row, none has two."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "in"
        content = iter(digit_files(9))
        for folder, names in tree.items():
            for name in names:
                path = root / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(next(content))
        listed = _paths(root)
        job = PredictionJob(
            model=model, input=str(root), output=str(Path(place) / "out"), read=read, max_error_rate=1, resume=True,
        )
        with pytest.MonkeyPatch.context() as patch:
            settle = workflow.settle

            def settle_late(*arguments: Any) -> Any:
                for path in sorted(root.rglob("*"))[:deleted]:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                return settle(*arguments)

            patch.setattr(workflow, "settle", settle_late)
            with killed_before(10**9 if kill is None else kill):
                sparkq.run_prediction_job(spark, job)
        left = _paths(root)
        if left:
            sparkq.run_prediction_job(spark, job)
        # A job that was killed, after which no file was left for another one, may have committed nothing.
        committed = list((Path(place) / "out" / "_sparkq").glob("*.json"))
        rows = sparkq.read_predictions(spark, job.output).collect() if committed else []
        found = Counter(canonical_path(row["path"]) for row in rows)
        assert set(found.values()) <= {1}
        assert left <= {canonical_path(row["path"]) for row in rows if row["status"] == "ok"} <= set(found) <= listed
        assert kill is not None or set(found) == listed
        assert committed or (kill is not None and not left)
